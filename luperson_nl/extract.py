"""The command `luperson-nl extract`."""

import sys

from luperson_nl.commands.extract import main

if __name__ == "__main__":
    sys.exit(main())
