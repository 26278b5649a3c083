"""Restoration of old films by a recurrent transformer network, from the file to the file.

from old_films_rtn import RTN, load
restored, forward_masks, backward_masks = load("net_G_200000.pth").rtn(clip, forward_flow, backward_flow)
"""

import importlib
from typing import Any

_HOMES = {
    "old_films_rtn.models.discriminator": "TemporalPatchDiscriminator",
    "old_films_rtn.models.raft": "RAFT",
    "old_films_rtn.models.rtn": "RTN warp",
    "old_films_rtn.models.swin": "RestorationTransformer",
    "old_films_rtn.published": "load",
}
_PLACES = {name: module for module, names in _HOMES.items() for name in names.split()}
__all__ = sorted(_PLACES)


def __getattr__(name: str) -> Any:
    """Public names are imported when they are first used, so that importing the package costs nothing."""
    if name not in _PLACES:
        raise AttributeError(f"module 'old_films_rtn' has no attribute {name!r}")
    return getattr(importlib.import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    return __all__
