"""The command `incomplete-sensing train`."""

import sys

from incomplete_sensing.commands.train import main

if __name__ == "__main__":
    sys.exit(main())
