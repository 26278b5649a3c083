"""The command `old-films-rtn colorize`."""

import sys

from old_films_rtn.commands.colorize import main

if __name__ == "__main__":
    sys.exit(main())
