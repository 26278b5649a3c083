"""Families by kind, and empty ones for a checkpoint to fill."""

from __future__ import annotations

from typing import Any

import torch

from incomplete_sensing.operators.base import OperatorFamily
from incomplete_sensing.operators.callables import CallableOperators
from incomplete_sensing.operators.dense import DenseOperators
from incomplete_sensing.operators.masks import MaskOperators
from incomplete_sensing.operators.mri import MRIOperators, MultiCoilMRIOperators
from incomplete_sensing.operators.tomography import TomographyOperators
from shared_utils import UserError

FAMILIES: dict[str, type[OperatorFamily]] = {
    family.kind: family
    for family in (
        DenseOperators,
        MaskOperators,
        MRIOperators,
        MultiCoilMRIOperators,
        TomographyOperators,
        CallableOperators,
    )
}


def empty_family(description: dict[str, Any]) -> OperatorFamily:
    """A family of the right kind and shapes, to be filled by ``load_state_dict`` (see ``OperatorFamily.description``).

    Raises UserError for functions, which no file can hold, and for an unknown kind.
    """
    kind = description.get("kind")
    if kind == CallableOperators.kind:
        raise UserError(
            "these operators are functions, which a checkpoint cannot hold: give the same operators when loading"
        )
    if kind not in FAMILIES:
        raise UserError(f"unknown kind of operators {kind!r}; known: {', '.join(FAMILIES)}")
    # Ones pass every check that the constructors make of real operators.
    buffers = {
        name: torch.ones(shape, dtype=getattr(torch, dtype)) for name, (dtype, *shape) in description["buffers"].items()
    }
    if "rows" in buffers:
        buffers["rows"] = torch.full_like(buffers["rows"], buffers["matrices"].shape[1])
    return FAMILIES[kind](**buffers, **description["options"])
