"""The command `ict-deepfake claim`."""

import sys

from ict_deepfake.commands.claim import main

if __name__ == "__main__":
    sys.exit(main())
