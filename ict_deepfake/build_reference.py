"""The command `ict-deepfake build_reference`."""

import sys

from ict_deepfake.commands.build_reference import main

if __name__ == "__main__":
    sys.exit(main())
