"""PCT: offset attention over local features of sampled neighbourhoods.

Guo et al., "PCT: Point Cloud Transformer", CVM 2021. Attribute names are those of the published checkpoints (``pct``),
which hold the shared query and key weight of an attention under both names; here it is ``k_conv`` alone.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from si_adv.geometry import FPSStart, farthest_point_sampling, gather, knn
from si_adv.models.pointwise import (
    as_stored,
    check_clouds,
    folded,
    max_over_neighbours,
    max_over_points,
    pointwise,
    pointwise_max,
    pointwise_relu,
)


class LocalFeatures(nn.Module):
    """Features of neighbourhoods: features (B, N, C), centres (B, S), neighbours (B, S, K) -> (B, out, S)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv1d(in_channels, out_channels, 1, bias=False), nn.BatchNorm1d(out_channels)
        self.conv2, self.bn2 = nn.Conv1d(out_channels, out_channels, 1, bias=False), nn.BatchNorm1d(out_channels)

    def forward(self, features: Tensor, centres: Tensor, neighbours: Tensor) -> Tensor:
        of_centre = gather(features, centres)
        if as_stored(self.conv1, self.bn1):
            groups = gather(features, neighbours)
            own = of_centre[:, :, None].expand_as(groups)
            groups = pointwise(torch.cat((groups - own, own), -1).flatten(0, 1), self.conv1, self.bn1)
        else:
            # Linear in (x_j - x_i, x_i): once a point and once a centre, before the gathering.
            weight, bias = folded(self.conv1, self.bn1)
            relative, absolute = weight.chunk(2, 1)
            groups = gather(F.linear(features, relative), neighbours)
            groups = (groups + F.linear(of_centre, absolute - relative, bias)[:, :, None]).flatten(0, 1)
        groups = pointwise(F.relu(groups), self.conv2, self.bn2)
        return F.relu(max_over_neighbours(groups.unflatten(0, neighbours.shape[:2]))).transpose(1, 2)


class OffsetAttention(nn.Module):
    """Self-attention whose output is taken from its input before the last layer: (B, C, N) -> (B, C, N)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.k_conv = nn.Conv1d(channels, channels // 4, 1, bias=False)
        self.v_conv = nn.Conv1d(channels, channels, 1)
        self.trans_conv = nn.Conv1d(channels, channels, 1)
        self.after_norm = nn.BatchNorm1d(channels)

    def forward(self, x: Tensor) -> Tensor:
        keys = self.k_conv(x)
        attention = torch.bmm(keys.transpose(1, 2), keys).softmax(-1)
        attention = attention / (1e-9 + attention.sum(1, keepdim=True))
        attended = torch.bmm(self.v_conv(x), attention)
        return x + F.relu(self.after_norm(self.trans_conv(x - attended)))


class AttentionStack(nn.Module):
    """Four attentions one after the other, their outputs concatenated: (B, C, N) -> (B, 4C, N)."""

    def __init__(self, channels: int = 256) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv1d(channels, channels, 1, bias=False), nn.BatchNorm1d(channels)
        self.conv2, self.bn2 = nn.Conv1d(channels, channels, 1, bias=False), nn.BatchNorm1d(channels)
        self.sa1, self.sa2, self.sa3, self.sa4 = (OffsetAttention(channels) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.relu(self.bn2(self.conv2(x)))
        outputs = []
        for attention in (self.sa1, self.sa2, self.sa3, self.sa4):
            x = attention(x)
            outputs.append(x)
        return torch.cat(outputs, 1)


class PCT(nn.Module):
    """The published classifier ``pct``.

    forward: (B, 3, N), or (B, 6, N) with normals, -> logits (B, num_classes). ``fps_start`` says where farthest point
    sampling starts; the published code draws it at random even in evaluation.
    """

    def __init__(self, num_classes: int, with_normals: bool = False, fps_start: FPSStart = "first") -> None:
        super().__init__()
        self.channels = 6 if with_normals else 3
        self.fps_start: FPSStart = fps_start
        self.conv1, self.bn1 = nn.Conv1d(self.channels, 64, 1, bias=False), nn.BatchNorm1d(64)
        self.conv2, self.bn2 = nn.Conv1d(64, 64, 1, bias=False), nn.BatchNorm1d(64)
        self.gather_local_0 = LocalFeatures(128, 128)
        self.gather_local_1 = LocalFeatures(256, 256)
        self.pt_last = AttentionStack()
        self.conv_fuse = nn.Sequential(nn.Conv1d(1280, 1024, 1, bias=False), nn.BatchNorm1d(1024), nn.LeakyReLU(0.2))
        self.linear1, self.bn6, self.dp1 = nn.Linear(1024, 512, bias=False), nn.BatchNorm1d(512), nn.Dropout(0.5)
        self.linear2, self.bn7, self.dp2 = nn.Linear(512, 256), nn.BatchNorm1d(256), nn.Dropout(0.5)
        self.linear3 = nn.Linear(256, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        check_clouds(x, self.channels)
        x = x.transpose(1, 2)
        points = x[..., :3]
        x = pointwise_relu(x, self.conv1, self.bn1)
        x = pointwise_relu(x, self.conv2, self.bn2)
        for num_centres, local in ((512, self.gather_local_0), (256, self.gather_local_1)):
            chosen = farthest_point_sampling(points, num_centres, self.fps_start)
            centres = gather(points, chosen)
            _, neighbours = knn(centres, points, 32)
            x = local(x, chosen, neighbours).transpose(1, 2)
            points = centres
        x = torch.cat((self.pt_last(x.transpose(1, 2)), x.transpose(1, 2)), 1)
        if as_stored(self.conv_fuse, *self.conv_fuse):
            x = max_over_points(self.conv_fuse(x))
        else:
            x = F.leaky_relu(pointwise_max(x.transpose(1, 2), self.conv_fuse[0], self.conv_fuse[1]), 0.2)
        x = self.dp1(F.leaky_relu(self.bn6(self.linear1(x)), 0.2))
        x = self.dp2(F.leaky_relu(self.bn7(self.linear2(x)), 0.2))
        return self.linear3(x)
