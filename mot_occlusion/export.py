"""The command `mot-occlusion export`."""

import sys

from mot_occlusion.commands.export import main

if __name__ == "__main__":
    sys.exit(main())
