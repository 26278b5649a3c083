"""The command `si-adv defend`."""

import sys

from si_adv.commands.defend import main

if __name__ == "__main__":
    sys.exit(main())
