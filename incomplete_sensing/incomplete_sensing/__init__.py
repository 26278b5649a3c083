"""Learning a signal model, and a reconstruction network, from incomplete linear measurements only.

from incomplete_sensing import OperatorOptions, assess, draw_operators
print(assess(n=784, m=100, G=40, k=12).verdict)
operators = draw_operators(OperatorOptions("gaussian", num_operators=40, num_measurements=100), (1, 28, 28))
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__version__ = "0.1.0"
