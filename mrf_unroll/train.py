"""The command `mrf-unroll train`."""

import sys

from mrf_unroll.commands.train import main

if __name__ == "__main__":
    sys.exit(main())
