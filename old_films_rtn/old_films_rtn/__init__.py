"""Restoration of old films by a recurrent transformer network, from the file to the file.

from old_films_rtn import load
restored, masks = load("net_G_200000.pth")(frames)  # (t, h, w) luma codes, uint8 or uint16
"""

import sys

try:
    import lazy_loader
except ModuleNotFoundError:  # a clone, and a Python without the environment
    sys.stderr.write(
        "old_films_rtn is not installed in this Python: run `make setup` in the workspace, then "
        "`source ../.venv/bin/activate` (or install it alone, see README.md)\n"
    )
    raise SystemExit(2) from None

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__version__ = "0.1.0"
