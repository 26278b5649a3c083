"""The command `si-adv query`."""

import sys

from si_adv.commands.query import main

if __name__ == "__main__":
    sys.exit(main())
