"""Turn a dense vision transformer into a mixture of experts without changing its function (Wu et al. 2022).

from rmoe import classifier, convert
model = classifier("swin_t")
convert(model, blocks="every2_last2", experts=8)    # the same outputs, four feed-forward layers with eight experts each
"""

import sys

try:
    import lazy_loader
except ModuleNotFoundError:  # a clone, and a Python without the environment
    sys.stderr.write(
        "rmoe is not installed in this Python: run `make setup` in the workspace, then "
        "`source ../.venv/bin/activate` (or install it alone, see README.md)\n"
    )
    raise SystemExit(2) from None

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__version__ = "0.1.0"
