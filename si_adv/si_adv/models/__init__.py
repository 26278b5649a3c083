"""The victims: eleven published point-cloud classifiers, one architecture a file."""

from __future__ import annotations

import difflib
import importlib
from typing import TYPE_CHECKING, Any

from shared_utils import UserError

if TYPE_CHECKING:
    from torch import nn

#: Every victim by name: the module that holds it and its class; a module is imported when its victim is built.
VICTIMS: dict[str, tuple[str, str]] = {
    "pointnet": ("pointnet", "PointNet"),
    "pointnet_small": ("pointnet", "pointnet_small"),
    "pointnet2_small": ("pointnet2", "pointnet2_small"),
    "pointnet2_ssg": ("pointnet2", "PointNet2SSG"),
    "pointnet2_msg": ("pointnet2", "PointNet2MSG"),
    "dgcnn": ("dgcnn", "DGCNN"),
    "dgcnn_small": ("dgcnn", "dgcnn_small"),
    "pointconv": ("pointconv", "PointConv"),
    "pct": ("pct", "PCT"),
    "pointmlp": ("pointmlp", "PointMLP"),
    "pointmlp_elite": ("pointmlp", "pointmlp_elite"),
    "paconv": ("paconv", "PAConv"),
    "curvenet": ("curvenet", "CurveNet"),
    "simple_view": ("simple_view", "SimpleView"),
    "pointcnn": ("pointcnn", "PointCNN"),
}


def build_victim(name: str, num_classes: int, with_normals: bool = False, **options: Any) -> nn.Module:
    """A victim with fresh weights: (B, 3, N) clouds, (B, 6, N) ``with_normals``, -> logits or log-probabilities.

    Args:
        name: of ``VICTIMS``.
        num_classes: number of outputs.
        with_normals: whether it takes normals.
        options: further arguments of its constructor, such as ``fps_start`` of those that sample.

    Raises:
        UserError: an unknown name (the closest known one is named), a class count below one and unknown options.
    """
    if name not in VICTIMS:
        closest = difflib.get_close_matches(str(name), VICTIMS, n=1, cutoff=0.0)[0]
        known = ", ".join(VICTIMS)
        raise UserError(f"unknown victim {name!r}: did you mean {closest!r}? (known: {known})")
    if num_classes < 1:
        raise UserError(f"a victim needs at least one class, got num_classes={num_classes}")
    module, class_name = VICTIMS[name]
    victim = getattr(importlib.import_module(f"si_adv.models.{module}"), class_name)
    try:
        return victim(num_classes, with_normals, **options)
    except TypeError as error:
        if "unexpected keyword argument" not in str(error):
            raise
        raise UserError(f"victim {name!r} has no such option: {str(error).split(') ')[-1]}") from error
