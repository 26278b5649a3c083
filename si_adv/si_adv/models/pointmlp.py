"""PointMLP: residual layers on neighbourhoods that are centred and scaled, level by level.

Ma et al., "Rethinking Network Design and Local Geometry in Point Cloud: A Simple Residual MLP Framework", ICLR 2022.
Attribute names are those of the published checkpoints (``pointMLP``, ``pointMLPElite``).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from si_adv.geometry import FPSStart, farthest_point_sampling, gather, knn
from si_adv.models.pointwise import check_clouds, max_over_neighbours, max_over_points, pointwise, pointwise_relu


def _pair(inputs: int, outputs: int, *more: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Conv1d(inputs, outputs, 1, bias=False), nn.BatchNorm1d(outputs), *more)


class Layer(nn.Module):
    """A pointwise layer with ReLU: (..., in) -> (..., out)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.net = _pair(inputs, outputs, nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        return pointwise_relu(x, self.net[0], self.net[1])


class ResidualLayer(nn.Module):
    """Two pointwise layers round a bottleneck, and the input added: (..., width) -> (..., width)."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.net1, self.net2 = _pair(width, inner, nn.ReLU()), _pair(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        inner = pointwise_relu(x, self.net1[0], self.net1[1])
        return F.relu(pointwise(inner, self.net2[0], self.net2[1]) + x)


class Grouper(nn.Module):
    """Neighbourhoods relative to their centre, at unit deviation over the cloud, then scaled and shifted by channel.

    points (B, N, 3), features (B, N, C) -> centres (B, S, 3), groups (B, S, K, 2C): the neighbours' features, and the
    centre's beside each.
    """

    def __init__(self, channels: int, num_centres: int, num_neighbours: int, fps_start: FPSStart) -> None:
        super().__init__()
        self.num_centres, self.num_neighbours = num_centres, num_neighbours
        self.fps_start: FPSStart = fps_start
        self.affine_alpha = nn.Parameter(torch.ones(1, 1, 1, channels))
        self.affine_beta = nn.Parameter(torch.zeros(1, 1, 1, channels))

    def forward(self, points: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        chosen = farthest_point_sampling(points, self.num_centres, self.fps_start)
        centres, of_centre = gather(points, chosen), gather(features, chosen)[:, :, None]
        _, indices = knn(centres, points, self.num_neighbours)
        groups = gather(features, indices) - of_centre
        deviation = groups.flatten(1).std(1)[:, None, None, None]
        groups = self.affine_alpha * groups / (deviation + 1e-5) + self.affine_beta
        return centres, torch.cat((groups, of_centre.expand_as(groups)), -1)


class NeighbourhoodLayers(nn.Module):
    """Layers on every member of a group, then the largest of each channel: (B, S, K, 2C) -> (B, S, width)."""

    def __init__(self, channels: int, width: int, blocks: int, inner: int) -> None:
        super().__init__()
        self.transfer = Layer(2 * channels, width)
        self.operation = nn.Sequential(*(ResidualLayer(width, inner) for _ in range(blocks)))

    def forward(self, groups: Tensor) -> Tensor:
        shape = groups.shape
        # One axis of members: what 1-d layers want in training.
        x = self.operation(self.transfer(groups.flatten(0, 1)))
        return max_over_neighbours(x.unflatten(0, shape[:2]))


class PointLayers(nn.Module):
    """Residual layers on the features of the centres: (B, S, width) -> (B, S, width)."""

    def __init__(self, width: int, blocks: int, inner: int) -> None:
        super().__init__()
        self.operation = nn.Sequential(*(ResidualLayer(width, inner) for _ in range(blocks)))

    def forward(self, x: Tensor) -> Tensor:
        return self.operation(x)


class PointMLP(nn.Module):
    """The published classifier ``pointMLP``.

    forward: (B, 3, N), or (B, 6, N) with normals, -> logits (B, num_classes). The first level samples 512 centres, each
    other half as many. ``fps_start``: as for ``PointNet2SSG``. The deviation that groups are divided by is of their own cloud,
    as in the authors' later revisions; the first took it over the batch.

    Args:
        num_classes: number of outputs.
        with_normals: whether it takes normals.
        fps_start: where farthest point sampling begins.
        width: channels of the embedding.
        growth: by how much each level widens them.
        blocks: residual layers of each level, on neighbours and again on centres.
        bottleneck: inner width of a residual layer, as a part of its width.
    """

    def __init__(
        self,
        num_classes: int,
        with_normals: bool = False,
        fps_start: FPSStart = "first",
        width: int = 64,
        growth: Sequence[int] = (2, 2, 2, 2),
        blocks: Sequence[int] = (2, 2, 2, 2),
        bottleneck: float = 1.0,
    ) -> None:
        super().__init__()
        self.channels = 6 if with_normals else 3
        self.embedding = Layer(self.channels, width)
        groupers, before, after, num_centres = [], [], [], 1024
        for factor, count in zip(growth, blocks, strict=True):
            num_centres, outputs = num_centres // 2, width * factor
            inner = int(outputs * bottleneck)
            groupers.append(Grouper(width, num_centres, 24, fps_start))
            before.append(NeighbourhoodLayers(width, outputs, count, inner))
            after.append(PointLayers(outputs, count, inner))
            width = outputs
        self.local_grouper_list, self.pre_blocks_list = nn.ModuleList(groupers), nn.ModuleList(before)
        self.pos_blocks_list = nn.ModuleList(after)
        self.classifier = nn.Sequential(
            *(nn.Linear(width, 512), nn.BatchNorm1d(512), nn.ReLU(), nn.Dropout(0.5)),
            *(nn.Linear(512, 256), nn.BatchNorm1d(256), nn.ReLU(), nn.Dropout(0.5)),
            nn.Linear(256, num_classes),
        )

    def forward(self, x: Tensor) -> Tensor:
        check_clouds(x, self.channels)
        x = x.transpose(1, 2)
        points, x = x[..., :3], self.embedding(x)
        levels = zip(self.local_grouper_list, self.pre_blocks_list, self.pos_blocks_list, strict=True)
        for grouper, on_neighbours, on_centres in levels:
            points, groups = grouper(points, x)
            x = on_centres(on_neighbours(groups))
        return self.classifier(max_over_points(x.transpose(1, 2)))


def pointmlp_elite(num_classes: int, with_normals: bool = False, fps_start: FPSStart = "first") -> PointMLP:
    """The published ``pointMLPElite``: half the width, fewer layers and a bottleneck, 0.72 M parameters."""
    return PointMLP(num_classes, with_normals, fps_start, 32, (2, 2, 2, 1), (1, 1, 2, 1), 0.25)
