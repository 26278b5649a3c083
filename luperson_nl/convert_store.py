"""The command `luperson-nl convert_store`."""

import sys

from luperson_nl.commands.convert_store import main

if __name__ == "__main__":
    sys.exit(main())
