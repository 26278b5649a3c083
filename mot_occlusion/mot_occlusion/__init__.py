"""Online multi-object tracking: re-identification learned without identities, occlusion estimated and used.

from mot_occlusion import Detections, Tracker
tracker = Tracker(image_size=(height, width), frame_rate=30)
for boxes, scores in frames:
    tracks = tracker.update(Detections(boxes, scores))  # .ids .boxes .scores .states
"""

import sys

try:
    import lazy_loader
except ModuleNotFoundError:  # a clone, and a Python without the environment
    sys.stderr.write(
        "mot_occlusion is not installed in this Python: run `make setup` in the workspace, then "
        "`source ../.venv/bin/activate` (or install it alone, see README.md)\n"
    )
    raise SystemExit(2) from None

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__version__ = "0.1.0"
