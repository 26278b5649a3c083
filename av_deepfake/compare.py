"""The command `av-deepfake compare`."""

import sys

from av_deepfake.commands.compare import main

if __name__ == "__main__":
    sys.exit(main())
