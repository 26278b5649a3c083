"""The command `rmoe convert`."""

import sys

from rmoe.commands.convert import main

if __name__ == "__main__":
    sys.exit(main())
