"""The command `av-deepfake synchrony`."""

import sys

from av_deepfake.commands.synchrony import main

if __name__ == "__main__":
    sys.exit(main())
