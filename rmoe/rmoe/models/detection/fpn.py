"""The feature pyramid: torchvision's, on a list of maps of any length, with one level more by subsampling."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool


class FPN(nn.Module):
    """P2 ... from the maps, and one more level of every second position of the last (1x1 max pooling, stride 2).

    Args:
        in_channels: of the maps, fine to coarse.
        strides: of the maps.
        channels: of every level.

    Attributes:
        strides: of the levels.
    """

    def __init__(self, in_channels: Sequence[int], strides: Sequence[int], channels: int = 256) -> None:
        super().__init__()
        self.pyramid = FeaturePyramidNetwork(list(in_channels), channels, LastLevelMaxPool())
        self.channels = channels
        self.strides = [*strides, 2 * strides[-1]]

    def forward(self, maps: Sequence[Tensor]) -> dict[str, Tensor]:
        """(B, C_i, h_i, w_i) each -> {"0": (B, channels, h_0, w_0), ..., "pool": ...}, fine to coarse."""
        return self.pyramid({str(level): x for level, x in enumerate(maps)})
