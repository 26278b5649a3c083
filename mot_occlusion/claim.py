"""The command `mot-occlusion claim`."""

import sys

from mot_occlusion.commands.claim import main

if __name__ == "__main__":
    sys.exit(main())
