"""The command `rmoe predict`."""

import sys

from rmoe.commands.predict import main

if __name__ == "__main__":
    sys.exit(main())
