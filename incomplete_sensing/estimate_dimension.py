"""The command `incomplete-sensing estimate_dimension`."""

import sys

from incomplete_sensing.commands.estimate_dimension import main

if __name__ == "__main__":
    sys.exit(main())
