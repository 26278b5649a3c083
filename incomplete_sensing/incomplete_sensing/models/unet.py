"""The U-Net of MOI, EI, REI and deepinv, with the published entry names."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shared_utils import UserError

Norm = Literal["batch", "group", "instance", "none"]


def _norm(kind: Norm, channels: int) -> list[nn.Module]:
    if kind == "none":
        return []
    if kind == "group":
        return [nn.GroupNorm(min(8, channels), channels)]
    if kind == "instance":
        return [nn.InstanceNorm2d(channels, affine=True)]
    return [nn.BatchNorm2d(channels)]


def _conv(in_channels: int, out_channels: int, norm: Norm, circular: bool) -> list[nn.Module]:
    padding = "circular" if circular else "zeros"
    convolution = nn.Conv2d(in_channels, out_channels, 3, padding=1, padding_mode=padding)
    return [convolution, *_norm(norm, out_channels), nn.ReLU(inplace=True)]


class UNet(nn.Module):
    """Encoder Conv1 .. ConvL with max-pooling, decoder Up / Up_conv, a 1x1 convolution, and the input added.

    Any image size: sizes that 2^(levels-1) does not divide are padded by reflection, and cropped back.

    Args:
        in_channels: of the images.
        out_channels: of the output.
        residual: add the input, where its channels are as many as the output's.
        circular_padding: which convolutions wrap around: the ``first`` of all (MOI, EI, REI), ``all`` (deepinv), ``none``.
        cat: skip connections; without them there are no Up_conv blocks in the path either, as published, though they
            stay in the state dict.
        base_channels: of the first level; they double from level to level.
        levels: 4 as published.
        norm: batch as published; group or instance keep x1 and x2 apart in the MOI loss, and do not differ between
            training and evaluation.
    """

    def __init__(
        self,
        in_channels: int = 1,
        out_channels: int = 1,
        residual: bool = True,
        circular_padding: Literal["none", "first", "all"] = "first",
        cat: bool = True,
        base_channels: int = 64,
        levels: int = 4,
        norm: Norm = "batch",
    ) -> None:
        super().__init__()
        if levels < 2:
            raise UserError(f"a U-Net has at least 2 levels, got {levels}")
        self.levels, self.cat = levels, cat
        self.residual = residual and in_channels == out_channels
        widths = [base_channels * 2**level for level in range(levels)]
        everywhere = circular_padding == "all"
        for level, width in enumerate(widths):
            before = in_channels if level == 0 else widths[level - 1]
            first = everywhere or (circular_padding == "first" and level == 0)
            block = [*_conv(before, width, norm, first), *_conv(width, width, norm, everywhere)]
            self.add_module(f"Conv{level + 1}", nn.Sequential(*block))
        for level in range(levels - 1, 0, -1):
            deep, shallow = widths[level], widths[level - 1]
            self.add_module(
                f"Up{level + 1}", nn.Sequential(nn.Upsample(scale_factor=2), *_conv(deep, shallow, norm, everywhere))
            )
            block = [*_conv(2 * shallow, shallow, norm, everywhere), *_conv(shallow, shallow, norm, everywhere)]
            self.add_module(f"Up_conv{level + 1}", nn.Sequential(*block))
        self.Conv_1x1 = nn.Conv2d(base_channels, out_channels, 1)

    def forward(self, images: Tensor) -> Tensor:
        """(B, in_channels, H, W) -> (B, out_channels, H, W)."""
        height, width = images.shape[-2:]
        multiple = 2 ** (self.levels - 1)
        down, right = -height % multiple, -width % multiple
        if down or right:
            # Reflection needs more pixels than it adds.
            mode = "reflect" if down < height and right < width else "replicate"
            padded = F.pad(images, (0, right, 0, down), mode=mode)
            return self._network(padded)[..., :height, :width]
        return self._network(images)

    def _network(self, images: Tensor) -> Tensor:
        skips = []
        values = images
        for level in range(1, self.levels + 1):
            values = self.get_submodule(f"Conv{level}")(values if level == 1 else F.max_pool2d(values, 2))
            skips.append(values)
        for level in range(self.levels, 1, -1):
            values = self.get_submodule(f"Up{level}")(values)
            if self.cat:
                values = self.get_submodule(f"Up_conv{level}")(torch.cat((skips[level - 2], values), 1))
        values = self.Conv_1x1(values)
        return values + images if self.residual else values
