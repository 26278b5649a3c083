"""The command `luperson-nl compare`."""

import sys

from luperson_nl.commands.compare import main

if __name__ == "__main__":
    sys.exit(main())
