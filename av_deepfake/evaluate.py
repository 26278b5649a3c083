"""The command `av-deepfake evaluate`."""

import sys

from av_deepfake.commands.evaluate import main

if __name__ == "__main__":
    sys.exit(main())
