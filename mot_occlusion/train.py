"""The command `mot-occlusion train`."""

import sys

from mot_occlusion.commands.train import main

if __name__ == "__main__":
    sys.exit(main())
