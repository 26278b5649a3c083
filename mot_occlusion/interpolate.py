"""The command `mot-occlusion interpolate`."""

import sys

from mot_occlusion.commands.interpolate import main

if __name__ == "__main__":
    sys.exit(main())
