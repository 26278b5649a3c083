"""The command `mot-occlusion ablate`."""

import sys

from mot_occlusion.commands.ablate import main

if __name__ == "__main__":
    sys.exit(main())
