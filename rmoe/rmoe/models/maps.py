"""What the heads ask of a backbone."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn


class Backbone(nn.Module):
    """Images (B, 3, H, W) -> a list of maps, fine to coarse.

    A head takes any module that has these two; ours say so by this class.

    Attributes:
        channels: of the maps.
        strides: of the maps, in pixels.
    """

    channels: Sequence[int]
    strides: Sequence[int]
