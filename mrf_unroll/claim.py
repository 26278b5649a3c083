"""The command `mrf-unroll claim`."""

import sys

from mrf_unroll.commands.claim import main

if __name__ == "__main__":
    sys.exit(main())
