"""T1, T2 and proton density maps from undersampled magnetic resonance fingerprinting scans.

from mrf_unroll import Dictionary, Sequence, SubspaceOperator, ToeplitzNormal, jiang_like_fa, log_grid
sequence = Sequence.of(jiang_like_fa(200), tr_ms=12, te_ms=2, ti_ms=18)
dictionary = Dictionary.build(sequence, log_grid(100, 100), rank=10)
"""

import sys

try:
    import lazy_loader
except ModuleNotFoundError:  # a clone, and a Python without the environment
    sys.stderr.write(
        "mrf_unroll is not installed in this Python: run `make setup` in the workspace, then "
        "`source ../.venv/bin/activate` (or install it alone, see README.md)\n"
    )
    raise SystemExit(2) from None

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__version__ = "0.1.0"
