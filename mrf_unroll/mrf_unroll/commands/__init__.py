"""The commands, a module each: `python reconstruct.py`, `python -m mrf_unroll reconstruct` and `mrf-unroll reconstruct`."""

import importlib.util
import sys

if importlib.util.find_spec("shared_utils") is None:
    sys.stderr.write(
        "mrf_unroll is not installed in this Python: run `make setup` in the workspace, then "
        "`source ../.venv/bin/activate` (or install it alone, see README.md)\n"
    )
    raise SystemExit(2)
