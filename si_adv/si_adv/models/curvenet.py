"""CurveNet: features of points enriched by curves that walk over the cloud.

Xiang et al., "Walk in the Cloud: Learning Curves for Point Clouds Shape Analysis", ICCV 2021. Attribute names are those
of the published checkpoints.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from si_adv.geometry import FPSStart, ball_query, farthest_point_sampling, gather, knn
from si_adv.models.pointwise import check_clouds

_SLOPE = 0.2


class Neighbourhood(NamedTuple):
    """The graph of a set of points; layers at one resolution share it.

    indices: (B, N, k + 1), nearest first, so the point itself leads; position: (B, 9, N, k), every point, its
    neighbour and their difference, for the first k.
    """

    indices: Tensor
    position: Tensor

    @classmethod
    def of(cls, xyz: Tensor, k: int) -> Neighbourhood:
        points = xyz.transpose(1, 2).contiguous()
        _, indices = knn(points, points, k + 1)
        near = gather(points, indices[..., :k])
        centre = points[:, :, None].expand_as(near)
        return cls(indices, torch.cat((centre, near, near - centre), -1).permute(0, 3, 1, 2).contiguous())


class LPFA(nn.Module):
    """Local point feature aggregation: maximum (first layer, positions alone) or mean over the k nearest points."""

    def __init__(self, in_channels: int, out_channels: int, initial: bool = False) -> None:
        super().__init__()
        if not initial:
            self.xyz2feature = nn.Sequential(nn.Conv2d(9, in_channels, 1, bias=False), nn.BatchNorm2d(in_channels))
        self.mlp = nn.Sequential(
            nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, bias=False), nn.BatchNorm2d(out_channels), nn.LeakyReLU(_SLOPE)
            )
        )

    def forward(self, x: Tensor | None, around: Neighbourhood) -> Tensor:
        """x: (B, C, N), None in the first layer -> (B, C', N)."""
        if x is None:
            return self.mlp(around.position).amax(-1)
        rows = x.transpose(1, 2)
        near = gather(rows, around.indices[..., : around.position.shape[-1]])
        edges = (near - rows[:, :, None]).permute(0, 3, 1, 2).contiguous()
        return self.mlp(F.leaky_relu(edges + self.xyz2feature(around.position), _SLOPE)).mean(-1)


class Walk(nn.Module):
    """Curves that step from neighbour to neighbour, each step the best by a learned score (straight-through argmax)."""

    def __init__(self, channels: int, length: int) -> None:
        super().__init__()
        self.length = length
        self.agent_mlp = nn.Sequential(nn.Conv2d(2 * channels, 1, 1, bias=False), nn.BatchNorm2d(1))
        self.momentum_mlp = nn.Sequential(nn.Conv1d(2 * channels, 2, 1, bias=False), nn.BatchNorm1d(2))

    def forward(self, x: Tensor, neighbours: Tensor, start: Tensor) -> Tensor:
        """x: (B, C, N); neighbours: (B, N, k) without the points themselves; start: (B, n) -> curves (B, C, n, L)."""
        rows = x.transpose(1, 2)
        current, curves = start, []
        head = descriptor = gather(rows, start).transpose(1, 2)
        for step in range(self.length):
            if step:
                momentum = F.softmax(self.momentum_mlp(torch.cat((head, descriptor), 1)), 1)
                # The published code reshapes (B, 2, n) to (B, n, 2) where it means to transpose: the two weights of a
                # curve come from two neighbouring curves. The checkpoints were trained so.
                momentum = momentum.reshape(len(x), 1, -1, 2)
                descriptor = (torch.stack((head, descriptor), -1) * momentum).sum(-1)
            candidates = gather(neighbours, current)
            values = gather(rows, candidates).permute(0, 3, 1, 2)
            scores = self.agent_mlp(torch.cat((values, descriptor[..., None].expand_as(values)), 1))[:, 0]
            if step:
                scores = scores * _crossover_suppression(head - descriptor, values - head[..., None])
            soft = F.softmax(scores, -1)
            best = soft.max(-1, keepdim=True).indices
            choice = (torch.zeros_like(soft).scatter_(-1, best, 1) - soft).detach() + soft
            head = (values * choice[:, None]).sum(-1)
            current = candidates.gather(-1, best)[..., 0]
            curves.append(head)
        return torch.stack(curves, -1)


@torch.no_grad()
def _crossover_suppression(direction: Tensor, steps: Tensor) -> Tensor:
    """Damping of steps that turn back: clamp(1 + cosine, 0, 1). (B, C, n), (B, C, n, k) -> (B, n, k)."""
    product = torch.einsum("bcn,bcnk->bnk", direction, steps)
    lengths = direction.norm(dim=1)[..., None] * steps.norm(dim=1)
    return (1 + product / lengths.clamp_min(1e-8)).clamp(0, 1)


class CurveGrouping(nn.Module):
    """Starts curves at the points of highest attention and walks them: (B, C, N) -> (B, C, n, L)."""

    def __init__(self, channels: int, num_curves: int, length: int) -> None:
        super().__init__()
        self.num_curves = num_curves
        self.att = nn.Conv1d(channels, 1, 1, bias=False)
        self.walk = Walk(channels, length)

    def forward(self, x: Tensor, neighbours: Tensor) -> Tensor:
        attention = torch.sigmoid(self.att(x))
        # Not sorted, as published: curves exchange momentum with their neighbours in this order (see Walk).
        start = attention[:, 0].topk(self.num_curves, dim=-1, sorted=False).indices
        return self.walk(x * attention, neighbours, start)


class CurveAggregation(nn.Module):
    """Attention of the points to the curves, across curves and along them: (B, C, N), (B, C, n, L) -> (B, C, N)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        middle = channels // 2
        self.conva = nn.Conv1d(channels, middle, 1, bias=False)
        self.convb = nn.Conv1d(channels, middle, 1, bias=False)
        self.convc = nn.Conv1d(channels, middle, 1, bias=False)
        self.convn = nn.Conv1d(middle, middle, 1, bias=False)
        self.convl = nn.Conv1d(middle, middle, 1, bias=False)
        self.convd = nn.Sequential(nn.Conv1d(2 * middle, channels, 1, bias=False), nn.BatchNorm1d(channels))
        self.line_conv_att = nn.Conv2d(channels, 1, 1, bias=False)

    def forward(self, x: Tensor, curves: Tensor) -> Tensor:
        attention = self.line_conv_att(curves)
        between = self.conva((curves * F.softmax(attention, -1)).sum(-1))
        within = self.convb((curves * F.softmax(attention, -2)).sum(-2))
        queries = self.convc(x).transpose(1, 2)
        to_between = F.softmax(queries @ between, -1)
        to_within = F.softmax(queries @ within, -1)
        from_between = to_between @ self.convn(between).transpose(1, 2)
        from_within = to_within @ self.convl(within).transpose(1, 2)
        gathered = torch.cat((from_between, from_within), -1).transpose(1, 2)
        return F.leaky_relu(x + self.convd(gathered), _SLOPE)


class CIC(nn.Module):
    """Curve intervention convolution: pooling to ``num_points``, curves, local aggregation, residual.

    curves: (number, length), or None for a block without curves.
    """

    def __init__(
        self,
        num_points: int,
        radius: float,
        k: int,
        in_channels: int,
        out_channels: int,
        bottleneck: int,
        curves: tuple[int, int] | None,
        fps_start: FPSStart,
    ) -> None:
        super().__init__()
        self.num_points, self.radius, self.k = num_points, radius, k
        self.fps_start: FPSStart = fps_start
        width = in_channels // bottleneck
        self.use_curve = curves is not None
        if curves is not None:
            self.curveaggregation = CurveAggregation(width)
            self.curvegrouping = CurveGrouping(width, *curves)
        self.conv1 = nn.Sequential(
            nn.Conv1d(in_channels, width, 1, bias=False), nn.BatchNorm1d(width), nn.LeakyReLU(_SLOPE)
        )
        self.conv2 = nn.Sequential(nn.Conv1d(width, out_channels, 1, bias=False), nn.BatchNorm1d(out_channels))
        self.widens = in_channels != out_channels
        if self.widens:
            self.shortcut = nn.Sequential(
                nn.Conv1d(in_channels, out_channels, 1, bias=False), nn.BatchNorm1d(out_channels)
            )
        self.lpfa = LPFA(width, width)

    def forward(self, xyz: Tensor, x: Tensor, around: Neighbourhood) -> tuple[Tensor, Tensor, Neighbourhood]:
        """xyz: (B, 3, N); x: (B, C, N) -> xyz (B, 3, M), features (B, C', M) and the neighbourhood at that size."""
        if xyz.shape[-1] != self.num_points:
            xyz, x = self._pool(xyz, x)
            around = Neighbourhood.of(xyz, self.k)
        shortcut = self.shortcut(x) if self.widens else x
        x = self.conv1(x)
        if self.use_curve:
            x = self.curveaggregation(x, self.curvegrouping(x, around.indices[..., 1:]))
        x = self.conv2(self.lpfa(x, around))
        return xyz, F.leaky_relu(x + shortcut, _SLOPE), around

    def _pool(self, xyz: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """Farthest points, each with the maximum of the features in its ball."""
        points = xyz.transpose(1, 2).contiguous()
        centres = gather(points, farthest_point_sampling(points, self.num_points, self.fps_start))
        inside = ball_query(points, centres, self.radius, self.k)
        return centres.transpose(1, 2), gather(x.transpose(1, 2), inside).amax(2).transpose(1, 2)


class CurveNet(nn.Module):
    """The published classifier ``curvenet``, setting "default": 100 curves of length 5 in the first four blocks.

    forward: (B, 3, N), or (B, 6, N) with normals, which this architecture has no use for -> logits (B, num_classes).
    Clouds of another size than 1024 are brought to it by the first block (farthest points, repeated where there are
    fewer). fps_start: where farthest point sampling begins. Raises ValueError for another number of channels.
    """

    def __init__(
        self, num_classes: int, with_normals: bool = False, k: int = 20, fps_start: FPSStart = "first"
    ) -> None:
        super().__init__()
        self.channels, self.k = 6 if with_normals else 3, k
        curves = (100, 5)
        self.lpfa = LPFA(9, 32, initial=True)
        self.cic11 = CIC(1024, 0.05, k, 32, 64, 2, curves, fps_start)
        self.cic12 = CIC(1024, 0.05, k, 64, 64, 4, curves, fps_start)
        self.cic21 = CIC(1024, 0.05, k, 64, 128, 2, curves, fps_start)
        self.cic22 = CIC(1024, 0.1, k, 128, 128, 4, curves, fps_start)
        self.cic31 = CIC(256, 0.1, k, 128, 256, 2, None, fps_start)
        self.cic32 = CIC(256, 0.2, k, 256, 256, 4, None, fps_start)
        self.cic41 = CIC(64, 0.2, k, 256, 512, 2, None, fps_start)
        self.cic42 = CIC(64, 0.4, k, 512, 512, 4, None, fps_start)
        self.conv0 = nn.Sequential(nn.Conv1d(512, 1024, 1, bias=False), nn.BatchNorm1d(1024), nn.ReLU())
        self.conv1 = nn.Linear(2048, 512, bias=False)
        self.bn1 = nn.BatchNorm1d(512)
        self.dp1 = nn.Dropout(0.5)
        self.conv2 = nn.Linear(512, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        check_clouds(x, self.channels)
        xyz = x[:, :3]
        around = Neighbourhood.of(xyz, self.k)
        x = self.lpfa(None, around)
        blocks = (self.cic11, self.cic12, self.cic21, self.cic22, self.cic31, self.cic32, self.cic41, self.cic42)
        for block in blocks:
            xyz, x, around = block(xyz, x, around)
        x = self.conv0(x)
        x = torch.cat((x.amax(-1), x.mean(-1)), 1)
        return self.conv2(self.dp1(F.relu(self.bn1(self.conv1(x)))))
