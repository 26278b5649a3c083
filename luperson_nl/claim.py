"""The command `luperson-nl claim`."""

import sys

from luperson_nl.commands.claim import main

if __name__ == "__main__":
    sys.exit(main())
