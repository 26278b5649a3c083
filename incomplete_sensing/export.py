"""The command `incomplete-sensing export`."""

import sys

from incomplete_sensing.commands.export import main

if __name__ == "__main__":
    sys.exit(main())
