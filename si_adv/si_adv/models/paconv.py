"""PAConv: convolution kernels assembled per neighbour from a bank of weight matrices, on the DGCNN skeleton.

Xu et al., "PAConv: Position Adaptive Convolution with Dynamic Kernel Assembling on Point Clouds", CVPR 2021. Attribute
names are those of the published checkpoints.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from si_adv.geometry import gather, knn
from si_adv.models.pointwise import check_clouds, pointwise


class ScoreNet(nn.Module):
    """How much of every weight matrix a neighbour uses, from its position: (B, N, K, 6) -> (B, N, K, num_matrices)."""

    def __init__(self, num_matrices: int, hidden: int = 16) -> None:
        super().__init__()
        self.mlp_convs_hidden = nn.ModuleList([nn.Conv2d(6, hidden, 1, bias=False), nn.Conv2d(hidden, num_matrices, 1)])
        # Checkpoints carry a second norm that nothing ever applies; frozen, so that DDP does not wait for it.
        unused = nn.BatchNorm2d(num_matrices).requires_grad_(False)
        self.mlp_bns_hidden = nn.ModuleList([nn.BatchNorm2d(hidden), unused])

    def forward(self, positions: Tensor) -> Tensor:
        hidden = F.relu(pointwise(positions, self.mlp_convs_hidden[0], self.mlp_bns_hidden[0]))
        last = self.mlp_convs_hidden[1]
        assert isinstance(last, nn.Conv2d)
        return F.softmax(F.linear(hidden, last.weight.flatten(1), last.bias), -1) + 0.5


class PAConv(nn.Module):
    """The published classifier ``paconv``: four PAConv layers over one graph of the ``k`` nearest points in space.

    forward: (B, 3, N), or (B, 6, N) with normals, which this architecture has no use for -> logits (B, num_classes).
    Raises ValueError for another number of channels.
    """

    def __init__(self, num_classes: int, with_normals: bool = False, k: int = 20, num_matrices: int = 8) -> None:
        super().__init__()
        self.channels, self.k = 6 if with_normals else 3, k
        widths = (3, 64, 64, 128, 256)
        for layer, (inputs, outputs) in enumerate(pairwise(widths), start=1):
            self.add_module(f"scorenet{layer}", ScoreNet(num_matrices))
            bank = nn.init.kaiming_normal_(torch.empty(num_matrices, 2 * inputs, outputs), nonlinearity="relu")
            self.register_parameter(f"matrice{layer}", nn.Parameter(bank.transpose(0, 1).flatten(1)))
            self.add_module(f"bn{layer}", nn.BatchNorm1d(outputs))
        self.bn5 = nn.BatchNorm1d(1024)
        self.conv5 = nn.Sequential(nn.Conv1d(sum(widths[1:]), 1024, 1, bias=False), self.bn5)
        self.linear1 = nn.Linear(2048, 512, bias=False)
        self.bn11 = nn.BatchNorm1d(512)
        self.dp1 = nn.Dropout(0.5)
        self.linear2 = nn.Linear(512, 256, bias=False)
        self.bn22 = nn.BatchNorm1d(256)
        self.dp2 = nn.Dropout(0.5)
        self.linear3 = nn.Linear(256, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        check_clouds(x, self.channels)
        points = x[:, :3].transpose(1, 2).contiguous()
        _, neighbours = knn(points, points, self.k)
        near = gather(points, neighbours)
        positions = torch.cat((near - points[:, :, None], near), -1)

        features, levels = points, []
        for layer in range(1, 5):
            scores = getattr(self, f"scorenet{layer}")(positions)
            features = _assemble(features, scores, neighbours, getattr(self, f"matrice{layer}"))
            level = F.relu(getattr(self, f"bn{layer}")(features.transpose(1, 2)))
            features = level.transpose(1, 2)
            levels.append(level)

        x = F.relu(self.conv5(torch.cat(levels, 1)))
        x = torch.cat((x.amax(-1), x.mean(-1)), 1)
        x = self.dp1(F.relu(self.bn11(self.linear1(x))))
        x = self.dp2(F.relu(self.bn22(self.linear2(x))))
        return self.linear3(x)


def _assemble(features: Tensor, scores: Tensor, neighbours: Tensor, bank: Tensor) -> Tensor:
    """sum over neighbours j and matrices m of score_ijm * (x_j - x_i, x_j) W_m: (B, N, c) -> (B, N, o).

    features: (B, N, c); scores: (B, N, K, m); neighbours: (B, N, K); bank: (2c, m * o). The edges are summed with their
    scores before they meet the matrices, which needs K times less memory than the products (x_j W_m) and as many
    multiplications as one matrix product.
    """
    num_matrices = scores.shape[-1]
    near = scores.transpose(2, 3) @ gather(features, neighbours)
    centre = scores.sum(2)[..., None] * features[:, :, None]
    edges = torch.cat((near - centre, near), -1).flatten(2)
    weights = bank.view(bank.shape[0], num_matrices, -1).transpose(0, 1).flatten(0, 1)
    return edges @ weights
