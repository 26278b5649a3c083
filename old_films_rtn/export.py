"""The command `old-films-rtn export`."""

import sys

from old_films_rtn.commands.export import main

if __name__ == "__main__":
    sys.exit(main())
