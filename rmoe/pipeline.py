"""The command `rmoe pipeline`."""

import sys

from rmoe.commands.pipeline import main

if __name__ == "__main__":
    sys.exit(main())
