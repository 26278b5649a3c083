"""The command `ict-deepfake evaluate`."""

import sys

from ict_deepfake.commands.evaluate import main

if __name__ == "__main__":
    sys.exit(main())
