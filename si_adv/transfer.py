"""The command `si-adv transfer`."""

import sys

from si_adv.commands.transfer import main

if __name__ == "__main__":
    sys.exit(main())
