"""The commands, a module each: `python train.py`, `python -m old_films_rtn train` and `old-films-rtn train` are the same."""

import importlib.util
import sys

if importlib.util.find_spec("shared_utils") is None:
    sys.stderr.write(
        "old_films_rtn is not installed in this Python: run `make setup` in the workspace, then "
        "`source ../.venv/bin/activate` (or install it alone, see README.md)\n"
    )
    raise SystemExit(2)
