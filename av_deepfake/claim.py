"""The command `av-deepfake claim`."""

import sys

from av_deepfake.commands.claim import main

if __name__ == "__main__":
    sys.exit(main())
