"""The command `si-adv train_punet`."""

import sys

from si_adv.commands.train_punet import main

if __name__ == "__main__":
    sys.exit(main())
