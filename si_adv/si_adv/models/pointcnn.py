"""PointCNN: convolution after a learned K x K transformation of the neighbours.

Li et al., "PointCNN: Convolution On X-Transformed Points", NeurIPS 2018. Attribute names are those of the published
checkpoints.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shared_utils import UserError
from si_adv.geometry import gather, knn
from si_adv.models.pointwise import check_clouds

Representatives = Literal["first", "random"]

# The published neighbour search overwrites the dilation it was asked for with the number of coordinates: every layer
# takes the neighbours of rank 1, 4, 7, ... (rank 0 is the point itself), and its checkpoints were trained so.
_DILATION = 3


class Dense(nn.Module):
    """Linear layer over the last dimension, with ReLU and dropout where asked for."""

    def __init__(self, in_features: int, out_features: int, activation: bool = True, dropout: float = 0.0) -> None:
        super().__init__()
        self.linear = nn.Linear(in_features, out_features)
        self.activation = activation
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = self.linear(x)
        return self.drop(F.relu(x) if self.activation else x)


class EndChannels(nn.Module):
    """A convolution applied to (B, P, K, C) instead of (B, C, P, K)."""

    def __init__(self, f: nn.Module) -> None:
        super().__init__()
        self.f = f

    def forward(self, x: Tensor) -> Tensor:
        return self.f(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class Conv(nn.Module):
    """Convolution over the K neighbours, then ReLU: (B, C, P, K) -> (B, C', P, 1)."""

    def __init__(self, in_channels: int, out_channels: int, k: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, (1, k))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.conv(x))


class SepConv(nn.Module):
    """Depthwise separable convolution over the K neighbours, ReLU, then batch norm: (B, C, P, K) -> (B, C', P, 1)."""

    def __init__(self, in_channels: int, out_channels: int, k: int, depth_multiplier: int) -> None:
        super().__init__()
        middle = in_channels * depth_multiplier
        self.conv = nn.Sequential(
            nn.Conv2d(in_channels, middle, (1, k), groups=in_channels), nn.Conv2d(middle, out_channels, 1, bias=False)
        )
        self.bn = nn.BatchNorm2d(out_channels, momentum=0.9)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(F.relu(self.conv(x)))


class XConv(nn.Module):
    """The X-convolution (paper, algorithm 1): lift the local coordinates, transform by X, convolve."""

    def __init__(self, in_channels: int, out_channels: int, k: int, lifted: int, depth_multiplier: int) -> None:
        super().__init__()
        self.k = k
        self.dense1 = Dense(3, lifted)
        self.dense2 = Dense(lifted, lifted)
        self.x_trans = nn.Sequential(
            EndChannels(Conv(3, k * k, k)), Dense(k * k, k * k), Dense(k * k, k * k, activation=False)
        )
        self.end_conv = EndChannels(SepConv(lifted + in_channels, out_channels, k, depth_multiplier))

    def forward(self, representatives: Tensor, near: Tensor, features: Tensor) -> Tensor:
        """representatives: (B, P, 3); near: (B, P, K, 3); features: (B, P, K, C) -> (B, P, C')."""
        local = near - representatives[:, :, None]
        lifted = torch.cat((self.dense2(self.dense1(local)), features), -1)
        transformation = self.x_trans(local).unflatten(-1, (self.k, self.k)).squeeze(2)
        return self.end_conv(transformation @ lifted).squeeze(2)


class PointCNNLayer(nn.Module):
    """Features of the neighbours, gathered into representative points."""

    def __init__(self, in_channels: int, out_channels: int, k: int) -> None:
        super().__init__()
        depth_multiplier = min(math.ceil(out_channels / in_channels), 4)
        self.dense = Dense(in_channels, out_channels // 2)
        self.x_conv = XConv(out_channels // 2, out_channels, k, out_channels // 4, depth_multiplier)

    def forward(self, representatives: Tensor, points: Tensor, features: Tensor, neighbours: Tensor) -> Tensor:
        """representatives: (B, P, 3); points: (B, N, 3); features: (B, N, C); neighbours: (B, P, K) -> (B, P, C')."""
        return self.x_conv(representatives, gather(points, neighbours), gather(self.dense(features), neighbours))


class RandPointCNN(nn.Module):
    """A layer that keeps ``num_representatives`` of the points (all: None), the first ones or randomly drawn."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        k: int,
        num_representatives: int | None = None,
        representatives: Representatives = "first",
    ) -> None:
        super().__init__()
        self.k, self.num_representatives, self.representatives = k, num_representatives, representatives
        self.pointcnn = PointCNNLayer(in_channels, out_channels, k)

    def forward(self, x: tuple[Tensor, Tensor, Tensor | None]) -> tuple[Tensor, Tensor, Tensor | None]:
        """x: points (B, N, 3), features (B, N, C), and the ranked neighbours (B, N, R) of the points where known.

        Returns the same of the representatives; their neighbours among themselves are known where all points stay.
        """
        points, features, ranked = x
        if ranked is None:
            ranked = ranked_neighbours(points, self.k)
        chosen, kept = points, ranked
        if self.num_representatives is not None and self.num_representatives < points.shape[1]:
            index = self._draw(points, self.num_representatives)
            chosen, kept = gather(points, index), None
            ranked = gather(ranked, index)
        neighbours = ranked[..., 1 : self.k * _DILATION + 1 : _DILATION]
        return chosen, self.pointcnn(chosen, points, features, neighbours), kept

    def _draw(self, points: Tensor, count: int) -> Tensor:
        batch, num_points, _ = points.shape
        if self.representatives == "first":
            return torch.arange(count, device=points.device).expand(batch, -1)
        return torch.rand(batch, num_points, device=points.device).argsort(1)[:, :count]


def ranked_neighbours(points: Tensor, k: int) -> Tensor:
    """The nearest points by rank, as many as ``k`` dilated neighbours need: (B, N, 3) -> (B, N, 3k + 1)."""
    needed = k * _DILATION + 1
    if points.shape[1] < needed:
        raise ValueError(f"PointCNN needs clouds of at least {needed} points, got {points.shape[1]}")
    return knn(points, points, needed)[1]


class PointCNN(nn.Module):
    """The published classifier ``pointcnn``: five X-convolutions, the last two on 120 representatives.

    forward: (B, 3, N), or (B, 6, N) with normals, which this architecture has no use for -> logits (B, num_classes),
    the mean over the representatives. Raises ValueError for another number of channels and for fewer than 37 points.
    representatives: ``first`` takes the first points of the cloud, so that a cloud always has the same logits;
    ``random`` draws them anew at every call, in evaluation too, as published.
    """

    def __init__(
        self, num_classes: int, with_normals: bool = False, representatives: Representatives = "first"
    ) -> None:
        super().__init__()
        if representatives not in ("first", "random"):
            raise UserError(f"unknown representatives {representatives!r} of PointCNN: choose first or random")
        self.channels = 6 if with_normals else 3
        self.pcnn1 = RandPointCNN(3, 32, 8)
        self.pcnn2 = nn.Sequential(
            RandPointCNN(32, 64, 8),
            RandPointCNN(64, 96, 8),
            RandPointCNN(96, 128, 12, 120, representatives),
            RandPointCNN(128, 160, 12, 120, representatives),
        )
        self.fcn = nn.Sequential(Dense(160, 128), Dense(128, 64, dropout=0.5), Dense(64, num_classes, activation=False))

    def forward(self, x: Tensor) -> Tensor:
        check_clouds(x, self.channels)
        points = x[:, :3].transpose(1, 2).contiguous()
        # One search serves all layers that see the whole cloud; the widest of them asks for 12 neighbours.
        layers = self.pcnn1((points, points, ranked_neighbours(points, 12)))
        _, features, _ = self.pcnn2(layers)
        return self.fcn(features).mean(1)
