"""The command `av-deepfake predict`."""

import sys

from av_deepfake.commands.predict import main

if __name__ == "__main__":
    sys.exit(main())
