"""The command `si-adv train_autoencoder`."""

import sys

from si_adv.commands.train_autoencoder import main

if __name__ == "__main__":
    sys.exit(main())
