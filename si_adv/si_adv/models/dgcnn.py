"""DGCNN: convolutions on the edges of a graph that is rebuilt in feature space before every layer.

Wang et al., "Dynamic Graph CNN for Learning on Point Clouds", TOG 2019. Attribute names are those of the published
checkpoints (``dgcnn``), which hold the norm ``convN.1`` under the name ``bnN`` as well.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from si_adv.geometry import gather, knn_features
from si_adv.models.pointwise import (
    as_stored,
    check_clouds,
    folded,
    max_over_points,
    normalised,
    pointwise,
    trains_from_moments,
)

_SLOPE = 0.2


def _layer(conv: nn.Module, norm: nn.Module) -> nn.Sequential:
    return nn.Sequential(conv, norm, nn.LeakyReLU(_SLOPE))


def _max_over_edges(x: Tensor, indices: Tensor) -> Tensor:
    """Largest value of every channel over the neighbours of a point: (B, N, C), (B, N, k) -> (B, N, C).

    One neighbour at a time, so the (B, N, k, C) edges never exist; the gradient goes to the neighbour that won.
    """
    with torch.no_grad():
        best = gather(x, indices[..., 0])
        winner = indices[..., :1].expand_as(best)
        for rank in range(1, indices.shape[-1]):
            candidate = gather(x, indices[..., rank])
            winner = torch.where(candidate > best, indices[..., rank : rank + 1], winner)
            best = torch.maximum(best, candidate)
    return x.gather(1, winner)


def _edge_moments(x: Tensor, indices: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (2C,) and covariance (2C, 2C) of (x_j, x_i) over all edges: (B, N, C), (B, N, k), without (B, N, k, C) values.

    A point counts as often as it is a neighbour; with its own neighbours it enters by their sum.
    """
    batch, num_points, channels = x.shape
    rows = x.reshape(-1, channels)
    start = torch.arange(batch, device=x.device)[:, None, None] * num_points
    neighbours = (indices + start).view(-1, indices.shape[-1])
    shift = rows.detach().mean(0)  # products of what lies round 0: nothing cancels
    rows = rows - shift
    count = torch.bincount(neighbours.flatten(), minlength=len(rows)).to(x.dtype)[:, None]
    sums = F.embedding_bag(neighbours, rows, mode="sum")
    edges = neighbours.numel()
    mean = torch.cat(((count * rows).sum(0), indices.shape[-1] * rows.sum(0))) / edges
    of_neighbours = (count * rows).T @ rows
    across = sums.T @ rows
    of_centres = indices.shape[-1] * rows.T @ rows
    second = torch.cat((torch.cat((of_neighbours, across), 1), torch.cat((across.T, of_centres), 1)))
    return mean + shift.repeat(2), second / edges - mean[:, None] * mean


class DGCNN(nn.Module):
    """The published classifier ``dgcnn``.

    forward: (B, 3, N), or (B, 6, N) with normals, -> logits (B, num_classes). ``k``: neighbours of a point, itself one;
    ``embedding``: channels of the last layer before the pooling; ``width``: of the first layer, to which the other edge
    convolutions and the head keep their ratio.
    """

    def __init__(
        self,
        num_classes: int,
        with_normals: bool = False,
        k: int = 20,
        embedding: int = 1024,
        dropout: float = 0.5,
        width: int = 64,
    ) -> None:
        super().__init__()
        self.k, self.channels = k, 6 if with_normals else 3
        widths = (self.channels, width, width, 2 * width, 4 * width)
        self.conv1, self.conv2, self.conv3, self.conv4 = (
            _layer(nn.Conv2d(2 * inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs))
            for inputs, outputs in pairwise(widths)
        )
        self.conv5 = _layer(nn.Conv1d(sum(widths[1:]), embedding, 1, bias=False), nn.BatchNorm1d(embedding))
        self.linear1, self.bn6 = nn.Linear(2 * embedding, 8 * width, bias=False), nn.BatchNorm1d(8 * width)
        self.linear2, self.bn7 = nn.Linear(8 * width, 4 * width), nn.BatchNorm1d(4 * width)
        self.linear3 = nn.Linear(4 * width, num_classes)
        self.dp1, self.dp2 = nn.Dropout(dropout), nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        check_clouds(x, self.channels)
        x = x.transpose(1, 2)
        levels = []
        for layer in (self.conv1, self.conv2, self.conv3, self.conv4):
            x = self._edge_convolution(x, layer)
            levels.append(x)
        x = self._embed(torch.cat(levels, 2))
        x = torch.cat((max_over_points(x), x.mean(2)), 1)
        x = self.dp1(F.leaky_relu(self.bn6(self.linear1(x)), _SLOPE))
        x = self.dp2(F.leaky_relu(self.bn7(self.linear2(x)), _SLOPE))
        return self.linear3(x)

    def _edge_convolution(self, x: Tensor, layer: nn.Sequential) -> Tensor:
        """Largest response over the edges (x_j - x_i, x_i) of a point: (B, N, in) -> (B, N, out).

        The convolution is linear, W (x_j - x_i, x_i) = W_a x_j + (W_b - W_a) x_i, and its activation increasing: it runs
        once a point and only W_a x_j enters the maximum. In training so as well, with the statistics of the norm from
        moments of the points (``_edge_moments``).
        """
        conv, norm = layer[0], layer[1]
        assert isinstance(conv, nn.Conv2d) and isinstance(norm, nn.modules.batchnorm._BatchNorm)
        indices = knn_features(x.transpose(1, 2), self.k)
        if trains_from_moments(x, norm, layer, *layer):
            weight = conv.weight.flatten(1)
            of_neighbour, of_centre = weight[:, : x.shape[2]], weight[:, x.shape[2] :]
            both = torch.cat((of_neighbour, of_centre - of_neighbour), 1)
            both, bias = normalised(both, None, norm, *_edge_moments(x, indices), indices.numel())
            of_neighbour, of_centre = both.chunk(2, 1)
            response = _max_over_edges(F.linear(x, of_neighbour), indices) + F.linear(x, of_centre, bias)
            return F.leaky_relu(response, _SLOPE)
        if as_stored(layer, *layer):
            neighbours = gather(x, indices)
            centres = x[:, :, None].expand_as(neighbours)
            edges = torch.cat((neighbours - centres, centres), -1)
            return layer(edges.permute(0, 3, 1, 2)).amax(-1).transpose(1, 2)
        weight, bias = folded(layer[0], layer[1])
        of_neighbour, of_centre = weight.chunk(2, 1)
        response = _max_over_edges(F.linear(x, of_neighbour), indices) + F.linear(x, of_centre - of_neighbour, bias)
        return F.leaky_relu(response, _SLOPE)

    def _embed(self, x: Tensor) -> Tensor:
        if as_stored(self.conv5, *self.conv5):
            return self.conv5(x.transpose(1, 2))
        return F.leaky_relu(pointwise(x, self.conv5[0], self.conv5[1]), _SLOPE).transpose(1, 2).contiguous()


def dgcnn_small(num_classes: int, with_normals: bool = False) -> DGCNN:
    """DGCNN at half its width: 0.46 M parameters, for training in a quarter of an hour on a CPU."""
    return DGCNN(num_classes, with_normals, embedding=512, width=32)
