"""DLA-34 with deformable aggregation and the heads on top: the published network, entry for entry.

Yu et al., Deep Layer Aggregation (CVPR 2018); the decoder's convolutions are DCNv2 as in CenterNet and FairMOT.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from mot_occlusion.models.deform import DCN
from mot_occlusion.models.heads import HeadedNetwork

_CHANNELS = (16, 32, 64, 128, 256, 512)


def _conv_norm(in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> list[nn.Module]:
    padding = kernel // 2
    return [
        nn.Conv2d(in_channels, out_channels, kernel, stride, padding, bias=False),
        nn.BatchNorm2d(out_channels),
    ]


def _conv_norm_relu(in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(*_conv_norm(in_channels, out_channels, kernel, stride), nn.ReLU(inplace=True))


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions around a residual that the surrounding Tree provides."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1, self.bn1 = _conv_norm(in_channels, out_channels, 3, stride)
        self.conv2, self.bn2 = _conv_norm(out_channels, out_channels, 3)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor, residual: Tensor) -> Tensor:
        x = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        return self.relu(x + residual)


class Root(nn.Module):
    """Aggregation node: 1 x 1 convolution of everything that meets here."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv, self.bn = _conv_norm(in_channels, out_channels, 1)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, *children: Tensor) -> Tensor:
        return self.relu(self.bn(self.conv(torch.cat(children, 1))))


class Tree(nn.Module):
    """Hierarchical aggregation of ``levels`` levels: two blocks and a root, or two trees of one level less.

    ``project`` of a tree of two levels is never used (its inner tree projects again); it exists because the published
    files hold its entries.
    """

    def __init__(
        self,
        levels: int,
        in_channels: int,
        out_channels: int,
        stride: int = 1,
        level_root: bool = False,
        root_channels: int = 0,
    ) -> None:
        super().__init__()
        self.levels, self.level_root = levels, level_root
        root_channels = (root_channels or 2 * out_channels) + (in_channels if level_root else 0)
        if levels == 1:
            self.tree1 = BasicBlock(in_channels, out_channels, stride)
            self.tree2 = BasicBlock(out_channels, out_channels)
            self.root = Root(root_channels, out_channels)
        else:
            self.tree1 = Tree(levels - 1, in_channels, out_channels, stride)
            self.tree2 = Tree(levels - 1, out_channels, out_channels, root_channels=root_channels + out_channels)
        self.downsample = nn.MaxPool2d(stride, stride) if stride > 1 else nn.Identity()
        self.project = None
        if in_channels != out_channels:
            self.project = nn.Sequential(*_conv_norm(in_channels, out_channels, 1))
            if levels > 1:  # or DistributedDataParallel would wait for its gradients
                self.project.requires_grad_(False)

    def forward(self, x: Tensor, children: Sequence[Tensor] = ()) -> Tensor:
        bottom = self.downsample(x) if self.levels == 1 or self.level_root else None
        if self.level_root and bottom is not None:
            children = [*children, bottom]
        if self.levels == 1:
            x1 = self.tree1(x, bottom if self.project is None else self.project(bottom))
            return self.root(self.tree2(x1, x1), x1, *children)
        x1 = self.tree1(x)
        return self.tree2(x1, [*children, x1])


class DLA(nn.Module):
    """The encoder: maps of strides 1, 2, 4, 8, 16, 32 with 16, 32, 64, 128, 256, 512 channels."""

    def __init__(self) -> None:
        super().__init__()
        c = _CHANNELS
        self.base_layer = _conv_norm_relu(3, c[0], 7)
        self.level0 = _conv_norm_relu(c[0], c[0], 3)
        self.level1 = _conv_norm_relu(c[0], c[1], 3, stride=2)
        self.level2 = Tree(1, c[1], c[2], stride=2)
        self.level3 = Tree(2, c[2], c[3], stride=2, level_root=True)
        self.level4 = Tree(2, c[3], c[4], stride=2, level_root=True)
        self.level5 = Tree(1, c[4], c[5], stride=2, level_root=True)

    def forward(self, images: Tensor) -> list[Tensor]:
        maps, x = [], self.base_layer(images)
        for level in range(6):
            x = self.get_submodule(f"level{level}")(x)
            maps.append(x)
        return maps


class DeformConv(nn.Module):
    """DCNv2, batch norm, ReLU."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.actf = nn.Sequential(nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True))
        self.conv = DCN(in_channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.actf(self.conv(x))


def _bilinear_upsampling(channels: int, factor: int) -> nn.ConvTranspose2d:
    up = nn.ConvTranspose2d(
        channels, channels, 2 * factor, stride=factor, padding=factor // 2, groups=channels, bias=False
    )
    centre = (2 * factor - 1 - factor % 2) / (2 * factor)
    ramp = 1 - (torch.arange(2 * factor) / factor - centre).abs()
    with torch.no_grad():
        up.weight.copy_((ramp[:, None] * ramp).expand_as(up.weight))
    return up


class IDAUp(nn.Module):
    """Iterative deep aggregation: every map is projected, up-sampled and merged with the one before it."""

    def __init__(self, out_channels: int, channels: Sequence[int], factors: Sequence[int]) -> None:
        super().__init__()
        for step in range(1, len(channels)):
            self.add_module(f"proj_{step}", DeformConv(channels[step], out_channels))
            self.add_module(f"up_{step}", _bilinear_upsampling(out_channels, factors[step]))
            self.add_module(f"node_{step}", DeformConv(out_channels, out_channels))

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        maps = list(maps)
        for step in range(1, len(maps)):
            project, up, node = (self.get_submodule(f"{part}_{step}") for part in ("proj", "up", "node"))
            maps[step] = node(up(project(maps[step])) + maps[step - 1])
        return maps


class DLAUp(nn.Module):
    """The decoder: maps of strides 4, 8, 16, 32 -> aggregated maps of the same strides and channels."""

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        self.num_steps = len(channels) - 1
        channels, below = list(channels), list(channels)
        for step in range(self.num_steps):
            start = -step - 2
            # Whatever lies above `start` has by then been brought to the stride and width of the map at `start` + 1.
            factors = [1] + [2] * (-start - 1)
            self.add_module(f"ida_{step}", IDAUp(channels[start], below[start:], factors))
            below[start + 1 :] = [channels[start]] * (-start - 1)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        maps = list(maps)
        out = [maps[-1]]
        for step in range(self.num_steps):
            start = len(maps) - step - 2
            maps[start:] = self.get_submodule(f"ida_{step}")(maps[start:])
            out.insert(0, maps[-1])
        return out


class DLA34(HeadedNetwork):
    """DLA-34 and heads of ``head_channels`` hidden channels: with the six heads of 128-d embeddings 20.15 M parameters."""

    def __init__(self, heads: Mapping[str, int] | None = None, head_channels: int = 256) -> None:
        super().__init__(_CHANNELS[2], head_channels, heads)
        self.base = DLA()
        self.dla_up = DLAUp(_CHANNELS[2:])
        self.ida_up = IDAUp(_CHANNELS[2], _CHANNELS[2:5], (1, 2, 4))
        for module in self.base.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def features(self, images: Tensor) -> Tensor:
        return self.ida_up(self.dla_up(self.base(images)[2:])[:3])[-1]
