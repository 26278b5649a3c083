"""The command `si-adv evaluate`."""

import sys

from si_adv.commands.evaluate import main

if __name__ == "__main__":
    sys.exit(main())
