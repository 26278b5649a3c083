"""The command `si-adv sensitivity`."""

import sys

from si_adv.commands.sensitivity import main

if __name__ == "__main__":
    sys.exit(main())
