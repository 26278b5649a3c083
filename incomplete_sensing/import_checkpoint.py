"""The command `incomplete-sensing import_checkpoint`."""

import sys

from incomplete_sensing.commands.import_checkpoint import main

if __name__ == "__main__":
    sys.exit(main())
