"""The command `ict-deepfake predict`."""

import sys

from ict_deepfake.commands.predict import main

if __name__ == "__main__":
    sys.exit(main())
