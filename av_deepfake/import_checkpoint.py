"""The command `av-deepfake import_checkpoint`."""

import sys

from av_deepfake.commands.import_checkpoint import main

if __name__ == "__main__":
    sys.exit(main())
