"""The command `luperson-nl search`."""

import sys

from luperson_nl.commands.search import main

if __name__ == "__main__":
    sys.exit(main())
