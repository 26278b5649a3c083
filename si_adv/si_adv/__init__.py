"""Shape-invariant 3D adversarial point clouds: attack and defend point-cloud classifiers.

from si_adv import ShapeInvariantIFGM, load_victim
adversarial = ShapeInvariantIFGM(load_victim())(clouds, labels)
"""

import importlib
from typing import Any

_HOMES = {
    "si_adv.attacks": (
        "ATTACKS CW FGM IFGM KNN MIFGM PGD Attack AttackResult Drop GeoA3 RandomDirection RandomTangent "
        "ShapeInvariantIFGM ShapeInvariantQuery SimBA SimBAPP build_attack sensitivity_map"
    ),
    "si_adv.defences": "DEFENCES SOR SRS DUPNet Defended ExpectationOverTransformation build_defence",
    "si_adv.metrics": "distances wilson_interval",
    "si_adv.models": "VICTIMS build_victim",
    "si_adv.published": "export_published import_published",
    "si_adv.victim": "Victim load_victim",
}
_PLACES = {name: module for module, names in _HOMES.items() for name in names.split()}
__all__ = sorted(_PLACES)


def __getattr__(name: str) -> Any:
    """Public names are imported when they are first used, so that importing the package costs nothing."""
    if name not in _PLACES:
        raise AttributeError(f"module 'si_adv' has no attribute {name!r}")
    return getattr(importlib.import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    return __all__
