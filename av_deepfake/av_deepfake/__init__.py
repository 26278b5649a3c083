"""Learn how mouths move from unlabelled talking videos, then detect forged ones (Zhao et al., 2022)."""

import sys

try:
    import lazy_loader
except ModuleNotFoundError:  # a clone, and a Python without the environment
    sys.stderr.write(
        "av_deepfake is not installed in this Python: run `make setup` in the workspace, then "
        "`source ../.venv/bin/activate` (or install it alone, see README.md)\n"
    )
    raise SystemExit(2) from None

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__version__ = "0.1.0"
