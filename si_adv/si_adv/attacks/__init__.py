"""Attacks on point-cloud classifiers, by name.

``ATTACKS`` maps the names that the command line and the tables use to classes; ``build_attack`` makes one.
"""

from __future__ import annotations

import difflib
import inspect

from shared_utils import UserError
from si_adv.attacks.adapt import Adapted
from si_adv.attacks.base import Attack, AttackResult, Victim
from si_adv.attacks.decision import HopSkipJump, ShapeInvariantHopSkipJump
from si_adv.attacks.deformation import HiTAdv
from si_adv.attacks.drop import Drop
from si_adv.attacks.frequency import AOF
from si_adv.attacks.gradient import (
    FGM,
    IFGM,
    MIFGM,
    PGD,
    NormalIFGM,
    RandomDirection,
    RandomTangent,
    ShapeInvariantIFGM,
)
from si_adv.attacks.optimization import CW, KNN, GeoA3
from si_adv.attacks.query import QueryAttack, ShapeInvariantQuery, SimBA, SimBAPP
from si_adv.attacks.reconstruction import AdvPC
from si_adv.attacks.sensitivity import sensitivity_map

ATTACKS: dict[str, type[Attack]] = {
    "si_ifgm": ShapeInvariantIFGM,
    "fgm": FGM,
    "ifgm": IFGM,
    "mifgm": MIFGM,
    "pgd": PGD,
    "cw": CW,
    "knn": KNN,
    "geoa3": GeoA3,
    "aof": AOF,
    "advpc": AdvPC,
    "hit_adv": HiTAdv,
    "drop": Drop,
    "normal_ifgm": NormalIFGM,
    "random_tangent": RandomTangent,
    "random": RandomDirection,
    "si_query": ShapeInvariantQuery,
    "simba": SimBA,
    "simba_pp": SimBAPP,
    "hop_skip_jump": HopSkipJump,
    "si_hop_skip_jump": ShapeInvariantHopSkipJump,
}


def attack_options(name: str) -> dict[str, inspect.Parameter]:
    """The options that the attack of this name takes, those of its base classes included.

    Raises:
        UserError: an unknown name.
    """
    attack = _attack_class(name)
    options = {}
    for cls in attack.__mro__:
        if "__init__" in vars(cls) and issubclass(cls, Attack):
            for key, parameter in inspect.signature(cls.__init__).parameters.items():
                if key not in ("self", "model", *attack.fixed) and parameter.kind is not parameter.VAR_KEYWORD:
                    options.setdefault(key, parameter)
    return options


def build_attack(name: str, model: Victim, **options) -> Attack:
    """The attack of this name on a model. Raises UserError for an unknown name or option, with the closest known."""
    known = attack_options(name)
    for option in options:
        if option not in known:
            raise UserError(f"attack {name} has no option {option!r}{_closest(option, known)}")
    return _attack_class(name)(model, **options)


def _attack_class(name: str) -> type[Attack]:
    if name not in ATTACKS:
        raise UserError(f"unknown attack {name!r}{_closest(name, ATTACKS)}")
    return ATTACKS[name]


def _closest(name: str, known: dict) -> str:
    matches = difflib.get_close_matches(name, known, n=3, cutoff=0.0)
    others = [item for item in known if item not in matches]
    return f": choose from {', '.join(matches + others)}"


__all__ = [
    "AOF",
    "ATTACKS",
    "CW",
    "FGM",
    "IFGM",
    "KNN",
    "MIFGM",
    "PGD",
    "Adapted",
    "AdvPC",
    "Attack",
    "AttackResult",
    "Drop",
    "GeoA3",
    "HiTAdv",
    "HopSkipJump",
    "NormalIFGM",
    "QueryAttack",
    "RandomDirection",
    "RandomTangent",
    "ShapeInvariantHopSkipJump",
    "ShapeInvariantIFGM",
    "ShapeInvariantQuery",
    "SimBA",
    "SimBAPP",
    "Victim",
    "attack_options",
    "build_attack",
    "sensitivity_map",
]
