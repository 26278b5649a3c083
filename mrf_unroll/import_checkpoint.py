"""The command `mrf-unroll import_checkpoint`."""

import sys

from mrf_unroll.commands.import_checkpoint import main

if __name__ == "__main__":
    sys.exit(main())
