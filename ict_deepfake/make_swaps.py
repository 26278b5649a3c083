"""The command `ict-deepfake make_swaps`."""

import sys

from ict_deepfake.commands.make_swaps import main

if __name__ == "__main__":
    sys.exit(main())
