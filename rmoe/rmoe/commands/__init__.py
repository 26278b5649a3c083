"""The commands, a module each: `python train.py`, `python -m rmoe train` and `rmoe train` are the same."""

import importlib.util
import sys

if importlib.util.find_spec("shared_utils") is None:
    sys.stderr.write(
        "rmoe is not installed in this Python: run `make setup` in the workspace, then "
        "`source ../.venv/bin/activate` (or install it alone, see README.md)\n"
    )
    raise SystemExit(2)
