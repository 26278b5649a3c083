"""``assess`` for whoever has numbers or operators, deepinv's ``Physics`` included; and the verdict in its Trainer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, overload

import numpy as np
import torch
from torch import Tensor

from incomplete_sensing.deepinv_adapter import from_physics
from incomplete_sensing.dimension import estimate_dimension
from incomplete_sensing.given_operators import given_operators
from incomplete_sensing.identifiability import Assessment, RowCounts
from incomplete_sensing.identifiability import assess as assess_numbers
from incomplete_sensing.identifiability_report import Answer, answer_operators
from incomplete_sensing.irreps import Irreps, named_action
from incomplete_sensing.operators import MaskOperators, MRIOperators, OperatorFamily
from incomplete_sensing.transforms import GROUPS
from shared_utils import UserError


@overload
def assess(
    n: int, m: int | Sequence[int] | RowCounts, G: int | None, k: float, irreps: Irreps | None = None
) -> Assessment: ...


@overload
def assess(
    n: Any,
    *,
    k: float | None = None,
    transform: Any = None,
    data: Tensor | Sequence[Tensor] | None = None,
    image_shape: Sequence[int] | None = None,
) -> Answer: ...


def assess(
    n: Any,
    m: Any = None,
    G: int | None = None,
    k: float | None = None,
    irreps: Irreps | None = None,
    *,
    transform: Any = None,
    data: Tensor | Sequence[Tensor] | None = None,
    image_shape: Sequence[int] | None = None,
) -> Assessment | Answer:
    """Is a model identified, and are its signals recovered: from numbers, or from operators.

    Args:
        n: unknowns, with m, G and k; see ``identifiability.assess``. Or operators, which are then tested directly: a
            family of ours, one of deepinv's linear ``Physics``, or a list of them.
        m: of numbers.
        G: of numbers.
        k: dimension of the model; of operators it is estimated from ``data`` where it is not given.
        irreps: of numbers.
        transform: under which the model is invariant: shift, rot90, flip, dihedral, or deepinv's Shift, Rotate
            by multiples of 90 degrees, or Reflect.
        data: measurements y (N, ...) of the first operator, or one such tensor an operator. Through almost every
            operator of more than 2k rows a model keeps its dimension, so neighbours among y show it.
        image_shape: (C, H, W); the physics' ``img_size`` where not given.

    Returns:
        For numbers an ``Assessment``; for operators an ``Answer``, whose ``str`` is the report, with ``identified``.

    Raises:
        UserError: neither k nor data, or operators that cannot be tested.
    """
    if isinstance(n, int):
        if m is None or k is None:
            raise UserError("numbers need n, m, G and k")
        return assess_numbers(n, m, G, k, irreps)
    family = n if isinstance(n, OperatorFamily) else family_of(n, image_shape)
    interval, remark = None, None
    if k is None:
        if data is None:
            raise UserError("k not given: give k, or data with measurements to estimate it from")
        k, interval, remark = _dimension_of(data, family.num_pixels)
    name = None if transform is None else group_name(transform)
    action = None if name is None else named_action(name, family.image_shape)
    made = answer_operators(given_operators(family), k, interval, name, action)
    if remark is not None:
        made.lines.insert(0, remark)
    return made


def family_of(physics: Any, image_shape: Sequence[int] | None = None) -> OperatorFamily:
    """deepinv's physics, or a list of them, as a family: masks as masks, so that they are tested exactly at any size."""
    several = list(physics) if isinstance(physics, Sequence) else [physics]
    shape = image_shape or getattr(several[0], "img_size", None) if several else None
    if shape is None:
        raise UserError("the size of the images is not known: give image_shape (C, H, W)")
    kinds = {type(one).__name__ for one in several}
    masks = [getattr(one, "mask", None) for one in several]
    if kinds in ({"Inpainting"}, {"MRI"}) and all(isinstance(mask, Tensor) for mask in masks):
        stacked = torch.stack([mask.reshape(-1, *mask.shape[-3:])[0] for mask in masks if mask is not None]).cpu()
        if kinds == {"Inpainting"}:
            return MaskOperators(stacked.expand(-1, -1, *shape[1:]), shape)
        return MRIOperators(stacked[:, 0].expand(-1, *shape[1:]), shape)
    parameter = next((value for one in several if hasattr(one, "buffers") for value in one.buffers()), None)
    return from_physics(several, shape, "cpu" if parameter is None else str(parameter.device))


def group_name(transform: Any) -> str:
    """The group of transforms that a name or one of deepinv's transforms stands for."""
    if isinstance(transform, str) and transform in GROUPS:
        return transform
    kind = type(transform).__name__
    if kind == "Rotate" and float(getattr(transform, "multiples", 1)) % 90 == 0:
        return "rot90"
    if kind in ("Shift", "Reflect"):
        return {"Shift": "shift", "Reflect": "flip"}[kind]
    raise UserError(
        f"{transform if isinstance(transform, str) else kind} is not a group that is known here: {', '.join(GROUPS)}, or "
        "deepinv's Shift, Rotate(multiples=90), Reflect"
    )


def _dimension_of(data: Tensor | Sequence[Tensor], n: int) -> tuple[float, tuple[float, float], str]:
    parts = [data] if isinstance(data, Tensor) else list(data)
    found = [estimate_dimension(part.detach().flatten(1).cpu().double().numpy()) for part in parts]
    top = n - 1
    k = min(float(np.mean([one.k for one in found])), top)
    low, high = min(max(0.0, *(one.low for one in found)), top), min(max(one.high for one in found), top)
    count = sum(len(part) for part in parts)
    remark = f"k estimated from {count} measurements: {k:.1f}, in [{low:.1f}, {high:.1f}]; right where m > 2k"
    return k, (low, high), remark


def announce_verdict(trainer: Any, k: float | None = None, transform: Any = None, data: Any = None) -> Any:
    """Have a ``deepinv.Trainer`` print the verdict when its training begins; returns the trainer.

    The Trainer has no callbacks, so its ``setup_train`` is wrapped. k, transform, data: see ``assess``.
    """
    prepare = trainer.setup_train

    def with_verdict(train: bool = True, **options: Any) -> Any:
        if train:
            print(assess(trainer.physics, k=k, transform=transform, data=data), flush=True)
        return prepare(train, **options)

    trainer.setup_train = with_verdict
    return trainer
