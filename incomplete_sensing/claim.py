"""The command `incomplete-sensing claim`."""

import sys

from incomplete_sensing.commands.claim import main

if __name__ == "__main__":
    sys.exit(main())
