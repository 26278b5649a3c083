"""The command `incomplete-sensing conditions`."""

import sys

from incomplete_sensing.commands.conditions import main

if __name__ == "__main__":
    sys.exit(main())
