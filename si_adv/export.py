"""The command `si-adv export`."""

import sys

from si_adv.commands.export import main

if __name__ == "__main__":
    sys.exit(main())
