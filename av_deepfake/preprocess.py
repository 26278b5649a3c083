"""The command `av-deepfake preprocess`."""

import sys

from av_deepfake.commands.preprocess import main

if __name__ == "__main__":
    sys.exit(main())
