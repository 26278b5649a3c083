"""A small backbone for the CPU behind the published heads: four stages, 24 to 96 channels, and a way back to stride 4."""

from __future__ import annotations

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor, nn

from mot_occlusion.models.heads import HEADS, HeadedNetwork


def _block(in_channels: int, out_channels: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )


class SmallNetwork(HeadedNetwork):
    """Feature pyramid of 3 x 3 convolutions; 0.5 M parameters with the six heads and 32-d embeddings."""

    def __init__(self, heads: Mapping[str, int] | None = None, head_channels: int = 32, channels: int = 48) -> None:
        super().__init__(channels, head_channels, {**HEADS, "id": 32} if heads is None else heads)
        half, full = channels // 2, channels
        self.stage1 = _block(3, half, 2)
        self.stage2 = nn.Sequential(_block(half, full, 2), _block(full, full))
        self.stage3 = nn.Sequential(_block(full, full + half, 2), _block(full + half, full + half))
        self.stage4 = nn.Sequential(_block(full + half, 2 * full, 2), _block(2 * full, 2 * full))
        self.lateral3 = nn.Conv2d(full + half, full, 1)
        self.lateral4 = nn.Conv2d(2 * full, full, 1)
        self.merge3, self.merge2 = _block(full, full), _block(full, full)

    def features(self, images: Tensor) -> Tensor:
        x2 = self.stage2(self.stage1(images))
        x3 = self.stage3(x2)
        x4 = self.lateral4(self.stage4(x3))
        x3 = self.merge3(self.lateral3(x3) + F.interpolate(x4, scale_factor=2.0, mode="bilinear"))
        return self.merge2(x2 + F.interpolate(x3, scale_factor=2.0, mode="bilinear"))
