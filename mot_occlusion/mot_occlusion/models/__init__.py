"""The networks: a backbone of stride 4 under six heads (detection, embedding, occlusion)."""

from __future__ import annotations

from collections.abc import Mapping

from mot_occlusion.models.dla import DLA34
from mot_occlusion.models.heads import HEADS, HeadedNetwork
from mot_occlusion.models.small import SmallNetwork
from shared_utils import UserError

BACKBONES = {"dla34": DLA34, "small": SmallNetwork}

__all__ = ["BACKBONES", "DLA34", "HEADS", "HeadedNetwork", "SmallNetwork", "build_network"]


def build_network(backbone: str, heads: Mapping[str, int], head_channels: int | None = None) -> HeadedNetwork:
    """The network of a backbone's name (``dla34``, ``small``) and output channels by head; UserError for another name.

    head_channels: hidden channels of the heads, where they are not the backbone's own.
    """
    if backbone not in BACKBONES:
        raise UserError(f"unknown backbone {backbone!r}: use one of {', '.join(BACKBONES)}")
    return BACKBONES[backbone](heads, **({} if head_channels is None else {"head_channels": head_channels}))
