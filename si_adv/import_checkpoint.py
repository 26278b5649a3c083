"""The command `si-adv import_checkpoint`."""

import sys

from si_adv.commands.import_checkpoint import main

if __name__ == "__main__":
    sys.exit(main())
