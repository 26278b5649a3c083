"""The command `rmoe claim`."""

import sys

from rmoe.commands.claim import main

if __name__ == "__main__":
    sys.exit(main())
