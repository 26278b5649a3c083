"""The command `incomplete-sensing reconstruct`."""

import sys

from incomplete_sensing.commands.reconstruct import main

if __name__ == "__main__":
    sys.exit(main())
