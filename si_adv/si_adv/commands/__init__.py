"""The commands, a module each: `python attack.py`, `python -m si_adv attack` and `si-adv attack` are the same."""

import importlib.util
import sys

if importlib.util.find_spec("shared_utils") is None:
    sys.stderr.write(
        "si_adv is not installed in this Python: run `make setup` in the workspace, then "
        "`source ../.venv/bin/activate` (or install it alone, see README.md)\n"
    )
    raise SystemExit(2)
