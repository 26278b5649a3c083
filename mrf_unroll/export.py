"""The command `mrf-unroll export`."""

import sys

from mrf_unroll.commands.export import main

if __name__ == "__main__":
    sys.exit(main())
