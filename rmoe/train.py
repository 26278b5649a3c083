"""The command `rmoe train`."""

import sys

from rmoe.commands.train import main

if __name__ == "__main__":
    sys.exit(main())
