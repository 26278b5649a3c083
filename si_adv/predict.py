"""The command `si-adv predict`."""

import sys

from si_adv.commands.predict import main

if __name__ == "__main__":
    sys.exit(main())
