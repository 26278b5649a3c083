"""The command `luperson-nl train`."""

import sys

from luperson_nl.commands.train import main

if __name__ == "__main__":
    sys.exit(main())
