"""Learning a signal model, and a reconstruction network, from incomplete linear measurements only.

from incomplete_sensing import OperatorOptions, assess, draw_operators
print(assess(n=784, m=100, G=40, k=12).verdict)
operators = draw_operators(OperatorOptions("gaussian", num_operators=40, num_measurements=100), (1, 28, 28))
"""

import sys

try:
    import lazy_loader
except ModuleNotFoundError:  # a clone, and a Python without the environment
    sys.stderr.write(
        "incomplete_sensing is not installed in this Python: run `make setup` in the workspace, then "
        "`source ../.venv/bin/activate` (or install it alone, see README.md)\n"
    )
    raise SystemExit(2) from None

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__version__ = "0.1.0"
