"""PointNet++: PointNets on nested neighbourhoods, with one radius a level (SSG) or several (MSG).

Qi et al., "PointNet++: Deep Hierarchical Feature Learning on Point Sets in a Metric Space", NeurIPS 2017. Attribute names
are those of the published checkpoints (``pointnet2_cls_ssg``, ``pointnet2_cls_msg``).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from si_adv.geometry import FPSStart, ball_query, farthest_point_sampling, gather
from si_adv.models.pointwise import (
    as_stored,
    check_clouds,
    folded,
    max_over_neighbours,
    moments,
    normalised,
    pointwise,
    pointwise_layers,
    pointwise_mlp,
    trains_from_moments,
)


def _pool_neighbourhoods(
    points: Tensor,
    features: Tensor | None,
    centres: Tensor,
    indices: Tensor,
    convs: nn.ModuleList,
    norms: nn.ModuleList,
    points_first: bool,
) -> Tensor:
    """A PointNet on every neighbourhood, its points relative to the centre.

    points (B, N, 3), features (B, N, D), centres (B, S, 3), indices (B, S, K) -> (B, S, width). The first layer is
    linear in (point - centre, feature), so it runs once a point and once a centre, before the gathering; in training with
    the moments of what it stands for (``_group_moments``).
    """

    def joined(points: Tensor, features: Tensor | None) -> Tensor:
        if features is None:
            return points
        return torch.cat((points, features) if points_first else (features, points), -1)

    conv, norm = convs[0], norms[0]
    if trains_from_moments(points, norm, conv):
        assert isinstance(conv, nn.Conv2d)
        mean, covariance = _group_moments(points, features, centres, indices)
        order = joined(torch.arange(3), None if features is None else torch.arange(3, len(mean)))
        mean, covariance = mean[order], covariance[order][:, order]
        weight, bias = normalised(conv.weight.flatten(1), conv.bias, norm, mean, covariance, indices.numel())
    elif as_stored(conv, norm):
        relative = gather(points, indices) - centres[:, :, None]
        groups = joined(relative, None if features is None else gather(features, indices))
        return _pool(groups, convs, norms)
    else:
        weight, bias = folded(conv, norm)
    of_point = weight[:, :3] if points_first else weight[:, -3:]
    groups = gather(F.linear(joined(points, features), weight, bias), indices)
    groups = F.relu(groups - F.linear(centres, of_point)[:, :, None], inplace=True)
    return _pool(groups, convs[1:], norms[1:])


def _group_moments(points: Tensor, features: Tensor | None, centres: Tensor, indices: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (3 + D,) and covariance (3 + D, 3 + D) of (point - centre, feature) over all members of all groups.

    A point's features enter once, as often as it is a member, so no (B, S, K, D) tensor is made.
    """
    relative = gather(points, indices) - centres[:, :, None]
    mean, covariance = moments(relative)
    if features is None:
        return mean, covariance
    batch, num_points, _ = points.shape
    start = torch.arange(batch, device=points.device)[:, None, None] * num_points
    members = (indices + start).flatten()
    rows, total = features.flatten(0, 1), len(members)
    count = torch.bincount(members, minlength=len(rows)).to(rows.dtype)[:, None]
    shift = (count * rows.detach()).sum(0) / total  # products of what lies round 0: nothing cancels
    rows = rows - shift
    centre = (count * rows).sum(0) / total
    of_features = (count * rows).T @ rows / total - centre[:, None] * centre
    sums = relative.new_zeros(len(rows), 3).index_add(0, members, (relative - mean).flatten(0, 2))
    across = sums.T @ rows / total
    covariance = torch.cat((torch.cat((covariance, across), 1), torch.cat((across.T, of_features), 1)))
    return torch.cat((mean, centre + shift)), covariance


def _pool(groups: Tensor, convs: nn.ModuleList, norms: nn.ModuleList) -> Tensor:
    """The layers on every member of a group, then the maximum: (B, S, K, D) -> (B, S, width)."""
    groups = pointwise_mlp(groups, convs[:-1], norms[:-1])
    # The maximum of the ReLU is the ReLU of the maximum.
    return F.relu(max_over_neighbours(pointwise(groups, convs[-1], norms[-1])))


class SetAbstraction(nn.Module):
    """One level with one radius: points (B, 3, N), features (B, D, N) or None -> (B, 3, S), (B, width, S)."""

    def __init__(
        self,
        num_centres: int,
        radius: float,
        num_samples: int,
        widths: Sequence[int],
        fps_start: FPSStart = "first",
    ) -> None:
        super().__init__()
        self.num_centres, self.radius, self.num_samples = num_centres, radius, num_samples
        self.fps_start: FPSStart = fps_start
        self.mlp_convs, self.mlp_bns = pointwise_layers(widths)

    def forward(self, points: Tensor, features: Tensor | None) -> tuple[Tensor, Tensor]:
        points = points.transpose(1, 2)
        features = None if features is None else features.transpose(1, 2)
        chosen = farthest_point_sampling(points, self.num_centres, self.fps_start)
        centres = gather(points, chosen)
        indices = ball_query(points, centres, self.radius, self.num_samples)
        pooled = _pool_neighbourhoods(points, features, centres, indices, self.mlp_convs, self.mlp_bns, True)
        return centres.transpose(1, 2), pooled.transpose(1, 2)


class GlobalAbstraction(nn.Module):
    """The last level, the whole cloud as one neighbourhood of a centre at the origin: as above, with S = 1."""

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.mlp_convs, self.mlp_bns = pointwise_layers(widths)

    def forward(self, points: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        points = points.transpose(1, 2)
        group = torch.cat((points, features.transpose(1, 2)), -1)[:, None]
        pooled = _pool(group, self.mlp_convs, self.mlp_bns)
        return torch.zeros_like(points[:, :1]).transpose(1, 2), pooled.transpose(1, 2)


class SetAbstractionMsg(nn.Module):
    """One level with several radii around the same centres; the features of the radii are concatenated."""

    def __init__(
        self,
        num_centres: int,
        radii: Sequence[float],
        num_samples: Sequence[int],
        in_channels: int,
        widths: Sequence[Sequence[int]],
        fps_start: FPSStart = "first",
    ) -> None:
        super().__init__()
        self.num_centres, self.radii, self.num_samples = num_centres, radii, num_samples
        self.fps_start: FPSStart = fps_start
        blocks = [pointwise_layers([in_channels + 3, *branch]) for branch in widths]
        self.conv_blocks = nn.ModuleList([convs for convs, _ in blocks])
        self.bn_blocks = nn.ModuleList([norms for _, norms in blocks])

    def forward(self, points: Tensor, features: Tensor | None) -> tuple[Tensor, Tensor]:
        points = points.transpose(1, 2)
        features = None if features is None else features.transpose(1, 2)
        centres = gather(points, farthest_point_sampling(points, self.num_centres, self.fps_start))
        pooled = []
        for radius, count, convs, norms in zip(
            self.radii, self.num_samples, self.conv_blocks, self.bn_blocks, strict=True
        ):
            assert isinstance(convs, nn.ModuleList) and isinstance(norms, nn.ModuleList)
            indices = ball_query(points, centres, radius, count)
            pooled.append(_pool_neighbourhoods(points, features, centres, indices, convs, norms, False))
        return centres.transpose(1, 2), torch.cat(pooled, -1).transpose(1, 2)


class _PointNet2(nn.Module):
    """What the two published classifiers share: three levels ``sa1``..``sa3`` and the head."""

    def __init__(
        self, num_classes: int, with_normals: bool, levels: Sequence[nn.Module], dropouts: tuple, width: int = 64
    ) -> None:
        super().__init__()
        self.channels = 6 if with_normals else 3
        self.sa1, self.sa2, self.sa3 = levels
        self.fc1, self.bn1, self.drop1 = (
            nn.Linear(16 * width, 8 * width),
            nn.BatchNorm1d(8 * width),
            nn.Dropout(dropouts[0]),
        )
        self.fc2, self.bn2, self.drop2 = (
            nn.Linear(8 * width, 4 * width),
            nn.BatchNorm1d(4 * width),
            nn.Dropout(dropouts[1]),
        )
        self.fc3 = nn.Linear(4 * width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        check_clouds(x, self.channels)
        points, features = self.sa1(x[:, :3], x[:, 3:] if self.channels == 6 else None)
        points, features = self.sa2(points, features)
        _, features = self.sa3(points, features)
        x = self.drop1(F.relu(self.bn1(self.fc1(features[..., 0]))))
        x = self.drop2(F.relu(self.bn2(self.fc2(x))))
        return F.log_softmax(self.fc3(x), -1)


class PointNet2SSG(_PointNet2):
    """The published classifier ``pointnet2_cls_ssg``.

    forward: (B, 3, N), or (B, 6, N) with normals, -> log-probabilities (B, num_classes). ``fps_start`` says where
    farthest point sampling starts; the published code draws it at random even in evaluation. ``width``: of the first
    layer, to which all others keep their ratio.
    """

    def __init__(
        self, num_classes: int, with_normals: bool = False, fps_start: FPSStart = "first", width: int = 64
    ) -> None:
        channels, w = 6 if with_normals else 3, width
        levels = (
            SetAbstraction(512, 0.2, 32, (channels, w, w, 2 * w), fps_start=fps_start),
            SetAbstraction(128, 0.4, 64, (2 * w + 3, 2 * w, 2 * w, 4 * w), fps_start=fps_start),
            GlobalAbstraction((4 * w + 3, 4 * w, 8 * w, 16 * w)),
        )
        super().__init__(num_classes, with_normals, levels, (0.4, 0.4), width)


def pointnet2_small(num_classes: int, with_normals: bool = False, fps_start: FPSStart = "first") -> PointNet2SSG:
    """PointNet++ with one radius a level at half its width: 0.37 M parameters, for training on a CPU."""
    return PointNet2SSG(num_classes, with_normals, fps_start, width=32)


class PointNet2MSG(_PointNet2):
    """The published classifier ``pointnet2_cls_msg``; shapes and ``fps_start`` as for ``PointNet2SSG``."""

    def __init__(self, num_classes: int, with_normals: bool = False, fps_start: FPSStart = "first") -> None:
        levels = (
            SetAbstractionMsg(
                512,
                (0.1, 0.2, 0.4),
                (16, 32, 128),
                3 if with_normals else 0,
                ((32, 32, 64), (64, 64, 128), (64, 96, 128)),
                fps_start,
            ),
            SetAbstractionMsg(
                128,
                (0.2, 0.4, 0.8),
                (32, 64, 128),
                320,
                ((64, 64, 128), (128, 128, 256), (128, 128, 256)),
                fps_start,
            ),
            GlobalAbstraction((640 + 3, 256, 512, 1024)),
        )
        super().__init__(num_classes, with_normals, levels, (0.4, 0.5))
