"""The command `mrf-unroll evaluate`."""

import sys

from mrf_unroll.commands.evaluate import main

if __name__ == "__main__":
    sys.exit(main())
