"""The command `ict-deepfake compare`."""

import sys

from ict_deepfake.commands.compare import main

if __name__ == "__main__":
    sys.exit(main())
