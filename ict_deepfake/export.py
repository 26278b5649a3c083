"""The command `ict-deepfake export`."""

import sys

from ict_deepfake.commands.export import main

if __name__ == "__main__":
    sys.exit(main())
