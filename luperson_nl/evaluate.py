"""The command `luperson-nl evaluate`."""

import sys

from luperson_nl.commands.evaluate import main

if __name__ == "__main__":
    sys.exit(main())
