"""The command `incomplete-sensing phase_transition`."""

import sys

from incomplete_sensing.commands.phase_transition import main

if __name__ == "__main__":
    sys.exit(main())
