"""The command `av-deepfake train`."""

import sys

from av_deepfake.commands.train import main

if __name__ == "__main__":
    sys.exit(main())
