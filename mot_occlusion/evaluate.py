"""The command `mot-occlusion evaluate`."""

import sys

from mot_occlusion.commands.evaluate import main

if __name__ == "__main__":
    sys.exit(main())
