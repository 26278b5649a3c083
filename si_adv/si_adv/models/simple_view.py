"""SimpleView: a small ResNet over six depth images of the cloud.

Goyal et al., "Revisiting Point Cloud Shape Classification with a Simple and Effective Baseline", ICML 2021. Attribute
names are those of the published checkpoints.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from si_adv.models.pointwise import check_clouds

RESOLUTION = 128
# Distance of the camera from the origin, for clouds in the unit sphere.
CAMERA_DISTANCE = 1.4
# In the original's depth division; kept so that images are the same to the last pixel.
_EPSILON = 1e-12


def _view_rotations() -> Tensor:
    """(6, 3, 3), for row vectors: four views around the x axis, then two along y, each turned a quarter about z.

    In float32 with its rounded cosines, as published: exact zeros would move points across pixel borders.
    """
    half = math.pi / 2
    angles = torch.tensor([[i * half, 0, half] for i in range(4)] + [[0, -half, half], [0, half, half]])
    (cos_x, cos_y, cos_z), (sin_x, sin_y, sin_z) = angles.cos().T, angles.sin().T
    zero, one = torch.zeros(6), torch.ones(6)
    about_x = torch.stack((one, zero, zero, zero, cos_x, -sin_x, zero, sin_x, cos_x), 1).view(6, 3, 3)
    about_y = torch.stack((cos_y, zero, sin_y, zero, one, zero, -sin_y, zero, cos_y), 1).view(6, 3, 3)
    about_z = torch.stack((cos_z, -sin_z, zero, sin_z, cos_z, zero, zero, zero, one), 1).view(6, 3, 3)
    return (about_x @ about_y @ about_z).transpose(1, 2)


def depth_images(points: Tensor, rotations: Tensor) -> Tensor:
    """Perspective depth images: points (B, N, 3), rotations (V, 3, 3) -> (B * V, 1, 128, 128), 0 where no point falls.

    A pixel holds the harmonic mean of the depths of its points; points behind the camera or outside the image are
    left out. The gradient flows through the depths, not through the choice of the pixel.
    """
    batch, views = len(points), len(rotations)
    x, y, depth = (points[:, None] @ rotations).flatten(0, 1).unbind(-1)
    depth = depth + CAMERA_DISTANCE
    with torch.no_grad():
        row = ((x / (depth + _EPSILON) + 1) * RESOLUTION / 2 - 0.5).ceil()
        column = ((y / (depth + _EPSILON) + 1) * RESOLUTION / 2 - 0.5).ceil()
        last = RESOLUTION - 1
        visible = (row >= 0) & (row <= last) & (column >= 0) & (column <= last) & (depth >= 0)
        pixel = (row.clamp(0, last) * RESOLUTION + column.clamp(0, last)).long()
    weight = torch.where(visible, 1 / (depth + _EPSILON), 0)
    empty = points.new_zeros(batch * views, RESOLUTION**2)
    total = empty.scatter_add(1, pixel, weight)
    weighted = empty.scatter_add(1, pixel, weight * depth)
    images = (weighted / torch.where(total == 0, 1, total)).view(-1, RESOLUTION, RESOLUTION, 1)
    return images.permute(0, 3, 1, 2)  # channels last in memory, as published: the convolutions round alike


class BasicBlock(nn.Module):
    """The two-convolution residual block of ResNet-18 (He et al. 2016)."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.downsample = None
        if stride != 1:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels)
            )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        nn.init.zeros_(self.bn2.weight)  # the block starts as the identity

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(x)) + shortcut)


class BatchNormPoint(nn.Module):
    """Batch norm over clouds and views alike: (B, V, C) -> (B, V, C)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bn = nn.BatchNorm1d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(x.flatten(0, 1)).view_as(x)


class MultiViewHead(nn.Module):
    """Classifier of the concatenated views: (B * V, C) -> (B, num_classes)."""

    def __init__(self, num_views: int, channels: int, num_classes: int) -> None:
        super().__init__()
        self.num_views = num_views
        self.model = nn.Sequential(
            BatchNormPoint(channels),
            nn.Dropout(0.5),  # before the views are joined, so that each drops features of its own
            nn.Flatten(),
            nn.Linear(channels * num_views, channels),
            nn.BatchNorm1d(channels),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Linear(channels, num_classes),
        )

    def forward(self, features: Tensor) -> Tensor:
        return self.model(features.unflatten(0, (-1, self.num_views)))


class SimpleView(nn.Module):
    """The published classifier ``simple_view``: ResNet-18 of first width 16 on six depth images of 128 x 128.

    forward: (B, 3, N), or (B, 6, N) with normals, which this architecture has no use for -> logits (B, num_classes).
    Made for clouds in the unit sphere. Raises ValueError for another number of channels.
    """

    rotations: Tensor

    def __init__(self, num_classes: int, with_normals: bool = False, width: int = 16) -> None:
        super().__init__()
        self.channels = 6 if with_normals else 3
        self.register_buffer("rotations", _view_rotations(), persistent=False)
        stages, channels = [], width
        for stage in range(4):
            outputs = width * 2**stage
            first = BasicBlock(channels, outputs, stride=1 if stage == 0 else 2)
            stages.append(nn.Sequential(first, BasicBlock(outputs, outputs, stride=1)))
            channels = outputs
        self.img_model = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            *stages,
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )
        self.final_fc = MultiViewHead(len(self.rotations), channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        check_clouds(x, self.channels)
        images = depth_images(x[:, :3].transpose(1, 2), self.rotations.to(x.dtype))
        return self.final_fc(self.img_model(images))
