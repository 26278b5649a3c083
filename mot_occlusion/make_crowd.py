"""The command `mot-occlusion make-crowd`."""

import sys

from mot_occlusion.commands.make_crowd import main

if __name__ == "__main__":
    sys.exit(main())
