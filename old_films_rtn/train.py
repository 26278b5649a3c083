"""The command `old-films-rtn train`."""

import sys

from old_films_rtn.commands.train import main

if __name__ == "__main__":
    sys.exit(main())
