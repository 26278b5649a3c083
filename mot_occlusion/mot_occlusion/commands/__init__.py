"""The commands, a module each: `python track.py`, `python -m mot_occlusion track` and `mot-occlusion track` are the same."""

import importlib.util
import sys

if importlib.util.find_spec("shared_utils") is None:
    sys.stderr.write(
        "mot_occlusion is not installed in this Python: run `make setup` in the workspace, then "
        "`source ../.venv/bin/activate` (or install it alone, see README.md)\n"
    )
    raise SystemExit(2)
