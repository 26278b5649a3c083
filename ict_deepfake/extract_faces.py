"""The command `ict-deepfake extract_faces`."""

import sys

from ict_deepfake.commands.extract_faces import main

if __name__ == "__main__":
    sys.exit(main())
