"""The command `old-films-rtn import_checkpoint`."""

import sys

from old_films_rtn.commands.import_checkpoint import main

if __name__ == "__main__":
    sys.exit(main())
