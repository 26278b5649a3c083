"""The command `rmoe evaluate`."""

import sys

from rmoe.commands.evaluate import main

if __name__ == "__main__":
    sys.exit(main())
