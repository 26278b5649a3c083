"""The command `mot-occlusion visualize`."""

import sys

from mot_occlusion.commands.visualize import main

if __name__ == "__main__":
    sys.exit(main())
