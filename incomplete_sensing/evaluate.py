"""The command `incomplete-sensing evaluate`."""

import sys

from incomplete_sensing.commands.evaluate import main

if __name__ == "__main__":
    sys.exit(main())
