"""The command `mrf-unroll dictionary`."""

import sys

from mrf_unroll.commands.dictionary import main

if __name__ == "__main__":
    sys.exit(main())
