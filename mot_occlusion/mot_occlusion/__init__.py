"""Online multi-object tracking: re-identification learned without identities, occlusion estimated and used.

from mot_occlusion import Detections, Tracker
tracker = Tracker(image_size=(height, width), frame_rate=30)
for boxes, scores in frames:
    tracks = tracker.update(Detections(boxes, scores))  # .ids .boxes .scores .states
"""

import importlib
from typing import Any

_HOMES = {
    "mot_occlusion.detections": "Detections",
    "mot_occlusion.tracking": "PUBLISHED Tracker Tracks",
}
_PLACES = {name: module for module, names in _HOMES.items() for name in names.split()}
__all__ = sorted(_PLACES)


def __getattr__(name: str) -> Any:
    """Public names are imported when they are first used, so that importing the package costs nothing."""
    if name not in _PLACES:
        raise AttributeError(f"module 'mot_occlusion' has no attribute {name!r}")
    return getattr(importlib.import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    return __all__
