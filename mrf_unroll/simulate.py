"""The command `mrf-unroll simulate`."""

import sys

from mrf_unroll.commands.simulate import main

if __name__ == "__main__":
    sys.exit(main())
