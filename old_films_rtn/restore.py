"""The command `old-films-rtn restore`."""

import sys

from old_films_rtn.commands.restore import main

if __name__ == "__main__":
    sys.exit(main())
