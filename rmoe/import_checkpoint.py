"""The command `rmoe import_checkpoint`."""

import sys

from rmoe.commands.import_checkpoint import main

if __name__ == "__main__":
    sys.exit(main())
