"""The command `si-adv attack`."""

import sys

from si_adv.commands.attack import main

if __name__ == "__main__":
    sys.exit(main())
