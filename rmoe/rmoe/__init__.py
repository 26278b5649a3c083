"""Turn a dense vision transformer into a mixture of experts without changing its function (Wu et al. 2022).

from rmoe import classifier, convert
model = classifier("swin_t")
convert(model, blocks="every2_last2", experts=8)    # the same outputs, four feed-forward layers with eight experts each
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__version__ = "0.1.0"
