"""The command `mrf-unroll reconstruct`."""

import sys

from mrf_unroll.commands.reconstruct import main

if __name__ == "__main__":
    sys.exit(main())
