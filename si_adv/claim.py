"""The command `si-adv claim`."""

import sys

from si_adv.commands.claim import main

if __name__ == "__main__":
    sys.exit(main())
