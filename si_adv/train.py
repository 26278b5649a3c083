"""The command `si-adv train`."""

import sys

from si_adv.commands.train import main

if __name__ == "__main__":
    sys.exit(main())
