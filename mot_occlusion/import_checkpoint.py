"""The command `mot-occlusion import-checkpoint`."""

import sys

from mot_occlusion.commands.import_checkpoint import main

if __name__ == "__main__":
    sys.exit(main())
