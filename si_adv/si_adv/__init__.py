"""Shape-invariant 3D adversarial point clouds: attack and defend point-cloud classifiers.

from si_adv import ShapeInvariantIFGM, load_victim
adversarial = ShapeInvariantIFGM(load_victim())(clouds, labels)
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__version__ = "0.1.0"
