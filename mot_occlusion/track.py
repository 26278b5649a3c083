"""The command `mot-occlusion track`."""

import sys

from mot_occlusion.commands.track import main

if __name__ == "__main__":
    sys.exit(main())
