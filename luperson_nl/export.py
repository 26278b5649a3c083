"""The command `luperson-nl export`."""

import sys

from luperson_nl.commands.export import main

if __name__ == "__main__":
    sys.exit(main())
