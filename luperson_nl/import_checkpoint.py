"""The command `luperson-nl import_checkpoint`."""

import sys

from luperson_nl.commands.import_checkpoint import main

if __name__ == "__main__":
    sys.exit(main())
