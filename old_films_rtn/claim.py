"""The command `old-films-rtn claim`."""

import sys

from old_films_rtn.commands.claim import main

if __name__ == "__main__":
    sys.exit(main())
