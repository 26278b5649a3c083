"""Restoration of old films by a recurrent transformer network, from the file to the file.

from old_films_rtn import load
restored, masks = load("net_G_200000.pth")(frames)  # (t, h, w) luma codes, uint8 or uint16
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__version__ = "0.1.0"
