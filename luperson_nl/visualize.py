"""The command `luperson-nl visualize`."""

import sys

from luperson_nl.commands.visualize import main

if __name__ == "__main__":
    sys.exit(main())
