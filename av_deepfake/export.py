"""The command `av-deepfake export`."""

import sys

from av_deepfake.commands.export import main

if __name__ == "__main__":
    sys.exit(main())
