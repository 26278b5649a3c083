"""Encoders: from the compressed time series of a slice to maps. One interface: (B, c, H, W) real -> (B, 3, H, W)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from mrf_unroll.models.dictionary_encoder import DictionaryEncoder, direction_moments
from shared_utils import UserError
from shared_utils.checkpoint import Exportable


class ResidualBlock(nn.Module):
    """3x3 convolution, ReLU, 3x3 convolution, plus the input, ReLU."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, hidden, 3, padding=1)
        self.conv2 = nn.Conv2d(hidden, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.conv2(torch.relu(self.conv1(x))))


class MapHead(nn.Module):
    """Three 1x1 convolutions with ReLU between them: the voxelwise part of the published encoder."""

    def __init__(self, in_channels: int, out_channels: int, hidden: int) -> None:
        super().__init__()
        widths = (in_channels, hidden, hidden, out_channels)
        layers: list[nn.Module] = []
        for inner, outer in pairwise(widths):
            layers += [nn.Conv2d(inner, outer, 1), nn.ReLU()]
        self.cnn = nn.Sequential(*layers[:-1])

    def forward(self, x: Tensor) -> Tensor:
        return self.cnn(x)


class ResNet(nn.Module):
    """The published proximal encoder: residual blocks ``rsb1``, ``rsb2``, ..., then the voxelwise ``mrfnet``.

    Args:
        blocks: the released weights were trained with two, the published code runs one.
        hidden: 64 for the released T = 2 and 5, 32 for T = 1.
        head_hidden: width of ``mrfnet``, as ``hidden`` where not given.
    """

    rsb1: ResidualBlock

    def __init__(
        self,
        in_channels: int = 10,
        out_channels: int = 3,
        hidden: int = 64,
        blocks: int = 2,
        head_hidden: int | None = None,
    ) -> None:
        super().__init__()
        if blocks < 1:
            raise UserError(f"blocks must be at least 1, got {blocks}")
        self.blocks = blocks
        for number in range(1, blocks + 1):
            self.add_module(f"rsb{number}", ResidualBlock(in_channels, hidden))
        self.mrfnet = MapHead(in_channels, out_channels, head_hidden or hidden)

    def forward(self, x: Tensor) -> Tensor:
        for number in range(1, self.blocks + 1):
            x = self.get_submodule(f"rsb{number}")(x)
        return self.mrfnet(x)


class UNet(nn.Module):
    """A U-Net: two 3x3 convolutions a level, 2x2 max pooling, up-sampling, skips by concatenation, a 1x1 head.

    Any image size: the input is padded to a multiple of 2^(levels - 1) and cropped again.

    Args:
        widths: channels a level.
    """

    def __init__(self, in_channels: int = 10, out_channels: int = 3, widths: Sequence[int] = (16, 32, 64, 128)) -> None:
        super().__init__()
        widths = list(widths)
        self.down = nn.ModuleList(
            self._pair(inner, outer) for inner, outer in zip([in_channels, *widths[:-1]], widths, strict=True)
        )
        self.up = nn.ModuleList(self._pair(deep + width, width) for width, deep in pairwise(widths))
        self.head = nn.Conv2d(widths[0], out_channels, 1)
        self.stride = 2 ** (len(widths) - 1)

    @staticmethod
    def _pair(inner: int, outer: int) -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(inner, outer, 3, padding=1), nn.ReLU(), nn.Conv2d(outer, outer, 3, padding=1), nn.ReLU()
        )

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        x = functional.pad(x, (0, -width % self.stride, 0, -height % self.stride))
        skips = []
        for level, block in enumerate(self.down):
            x = block(functional.max_pool2d(x, 2) if level else x)
            skips.append(x)
        x = skips.pop()
        for block in reversed(self.up):
            x = block(torch.cat([functional.interpolate(x, scale_factor=2), skips.pop()], dim=1))
        return self.head(x)[..., :height, :width]


class MRFResNet(nn.Module, Exportable):
    """The voxelwise residual network of LRTV-MRFResNet: narrow 1x1 residual blocks on the normalised time series.

    The input is divided by its norm in every voxel and z-scored (``mean``, ``deviation``, kept in the state dict; set
    by ``fit_normalisation``), so T1 and T2 do not depend on PD. The published network stops at T1 and T2; here a third
    output times the norm of the input is PD.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, in_channels: int = 10, out_channels: int = 3, width: int = 10, blocks: int = 6) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(in_channels))
        self.register_buffer("deviation", torch.ones(in_channels))
        self.first = nn.Conv2d(in_channels, width, 1)
        self.inner = nn.ModuleList(nn.Conv2d(width, width, 1) for _ in range(2 * blocks))
        self.last = nn.Conv2d(width, out_channels, 1)

    def fit_normalisation(self, atoms: Tensor) -> None:
        """Take mean and deviation from atoms (K, c)."""
        mean, deviation = direction_moments(atoms)
        self.mean.copy_(mean)
        self.deviation.copy_(deviation)

    def forward(self, x: Tensor) -> Tensor:
        norm = x.norm(dim=1, keepdim=True)
        # A voxel of nothing has no direction; a floor relative to the slice keeps noise there from being blown up.
        floor = 1e-3 * norm.amax(dim=(2, 3), keepdim=True) + 1e-12
        z = (x / norm.clamp_min(floor) - self.mean[:, None, None]) / self.deviation[:, None, None]
        z = torch.relu(self.first(z))
        for one, two in zip(self.inner[::2], self.inner[1::2], strict=True):
            z = torch.relu(z + two(torch.relu(one(z))))
        out = self.last(z)
        return torch.cat([out[:, :2], out[:, 2:3] * norm, out[:, 3:]], dim=1)


class Denoiser(nn.Module, Exportable):
    """DnCNN: what 3x3 convolutions take for noise, subtracted. (B, c, H, W) -> the same.

    Args:
        depth: convolutions, batch-normalised between the first and the last.
    """

    def __init__(self, channels: int = 10, hidden: int = 64, depth: int = 7) -> None:
        super().__init__()
        if depth < 2:
            raise UserError(f"depth must be at least 2, got {depth}")
        layers: list[nn.Module] = [nn.Conv2d(channels, hidden, 3, padding=1), nn.ReLU()]
        for _ in range(depth - 2):
            layers += [nn.Conv2d(hidden, hidden, 3, padding=1, bias=False), nn.BatchNorm2d(hidden), nn.ReLU()]
        self.dncnn = nn.Sequential(*layers, nn.Conv2d(hidden, channels, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        return x - self.dncnn(x)


class DnCNN(nn.Module):
    """A ``Denoiser`` that takes the artefacts off the time series, then the voxelwise head of the published encoder."""

    def __init__(self, in_channels: int = 10, out_channels: int = 3, hidden: int = 64, depth: int = 7) -> None:
        super().__init__()
        self.denoiser = Denoiser(in_channels, hidden, depth)
        self.mrfnet = MapHead(in_channels, out_channels, hidden)

    def forward(self, x: Tensor) -> Tensor:
        return self.mrfnet(self.denoiser(x))


ENCODERS: dict[str, type[nn.Module]] = {
    "dictionary": DictionaryEncoder,
    "resnet": ResNet,
    "unet": UNet,
    "mrfresnet": MRFResNet,
    "dncnn": DnCNN,
}


def build_encoder(options: dict[str, Any], in_channels: int) -> nn.Module:
    """The encoder that ``options`` describes: ``{"name": "resnet", "hidden": 64, "blocks": 2}``.

    Raises:
        UserError: for an unknown name or argument.
    """
    options = dict(options)
    name = options.pop("name", "resnet")
    if name not in ENCODERS:
        raise UserError(f"no encoder {name}: known are {', '.join(ENCODERS)}")
    try:
        return ENCODERS[name](in_channels=in_channels, **options)
    except TypeError as error:
        raise UserError(f"encoder {name}: {str(error).rpartition('__init__() ')[2]}") from None
