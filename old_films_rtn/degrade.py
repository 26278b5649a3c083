"""The command `old-films-rtn degrade`."""

import sys

from old_films_rtn.commands.degrade import main

if __name__ == "__main__":
    sys.exit(main())
