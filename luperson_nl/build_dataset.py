"""The command `luperson-nl build_dataset`."""

import sys

from luperson_nl.commands.build_dataset import main

if __name__ == "__main__":
    sys.exit(main())
