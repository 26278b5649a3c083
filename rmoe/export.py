"""The command `rmoe export`."""

import sys

from rmoe.commands.export import main

if __name__ == "__main__":
    sys.exit(main())
