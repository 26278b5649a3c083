"""The command `ict-deepfake train`."""

import sys

from ict_deepfake.commands.train import main

if __name__ == "__main__":
    sys.exit(main())
