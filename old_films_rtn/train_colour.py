"""The command `old-films-rtn train_colour`."""

import sys

from old_films_rtn.commands.train_colour import main

if __name__ == "__main__":
    sys.exit(main())
