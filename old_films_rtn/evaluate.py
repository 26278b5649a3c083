"""The command `old-films-rtn evaluate`."""

import sys

from old_films_rtn.commands.evaluate import main

if __name__ == "__main__":
    sys.exit(main())
