"""The command `mot-occlusion simulate`."""

import sys

from mot_occlusion.commands.simulate import main

if __name__ == "__main__":
    sys.exit(main())
