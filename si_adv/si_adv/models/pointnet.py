"""PointNet: shared layers a point, a maximum over the points, and two learned alignments.

Qi et al., "PointNet: Deep Learning on Point Sets for 3D Classification and Segmentation", CVPR 2017. Attribute names are
those of the published checkpoints (``pointnet_cls``).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from si_adv.models.pointwise import check_clouds, pointwise_max, pointwise_relu


class TransformNet(nn.Module):
    """T-net: a matrix that aligns the cloud it is given. (B, N, channels) -> (B, size, size)."""

    def __init__(self, channels: int, size: int, width: int = 64) -> None:
        super().__init__()
        self.size = size
        self.conv1, self.bn1 = nn.Conv1d(channels, width, 1), nn.BatchNorm1d(width)
        self.conv2, self.bn2 = nn.Conv1d(width, 2 * width, 1), nn.BatchNorm1d(2 * width)
        self.conv3, self.bn3 = nn.Conv1d(2 * width, 16 * width, 1), nn.BatchNorm1d(16 * width)
        self.fc1, self.bn4 = nn.Linear(16 * width, 8 * width), nn.BatchNorm1d(8 * width)
        self.fc2, self.bn5 = nn.Linear(8 * width, 4 * width), nn.BatchNorm1d(4 * width)
        self.fc3 = nn.Linear(4 * width, size * size)

    def forward(self, x: Tensor) -> Tensor:
        x = pointwise_relu(x, self.conv1, self.bn1)
        x = pointwise_relu(x, self.conv2, self.bn2)
        # The maximum of the ReLU is the ReLU of the maximum.
        x = F.relu(pointwise_max(x, self.conv3, self.bn3))
        x = F.relu(self.bn4(self.fc1(x)))
        x = F.relu(self.bn5(self.fc2(x)))
        x = self.fc3(x).unflatten(1, (self.size, self.size))
        return x + torch.eye(self.size, dtype=x.dtype, device=x.device)


class Encoder(nn.Module):
    """(B, C, N) -> global feature (B, 16 W), input transform (B, 3, 3), feature transform (B, W, W); W = ``width``."""

    def __init__(self, channels: int, width: int = 64) -> None:
        super().__init__()
        self.stn = TransformNet(channels, 3, width)
        self.fstn = TransformNet(width, width, width)
        self.conv1, self.bn1 = nn.Conv1d(channels, width, 1), nn.BatchNorm1d(width)
        self.conv2, self.bn2 = nn.Conv1d(width, 2 * width, 1), nn.BatchNorm1d(2 * width)
        self.conv3, self.bn3 = nn.Conv1d(2 * width, 16 * width, 1), nn.BatchNorm1d(16 * width)

    def forward(self, clouds: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = clouds.transpose(1, 2)
        input_transform = self.stn(x)
        # Normals are left as they are.
        x = torch.cat((torch.bmm(x[..., :3], input_transform), x[..., 3:]), 2)
        x = pointwise_relu(x, self.conv1, self.bn1)
        feature_transform = self.fstn(x)
        x = torch.bmm(x, feature_transform)
        x = pointwise_relu(x, self.conv2, self.bn2)
        return pointwise_max(x, self.conv3, self.bn3), input_transform, feature_transform


class PointNet(nn.Module):
    """The published classifier ``pointnet_cls``; ``width`` is that of its first layer, to which all others keep their ratio.

    forward: (B, 3, N), or (B, 6, N) with normals, -> log-probabilities (B, num_classes).
    """

    def __init__(self, num_classes: int, with_normals: bool = False, width: int = 64) -> None:
        super().__init__()
        self.channels = 6 if with_normals else 3
        self.feat = Encoder(self.channels, width)
        self.fc1, self.bn1 = nn.Linear(16 * width, 8 * width), nn.BatchNorm1d(8 * width)
        self.fc2, self.bn2 = nn.Linear(8 * width, 4 * width), nn.BatchNorm1d(4 * width)
        self.fc3 = nn.Linear(4 * width, num_classes)
        self.dropout = nn.Dropout(0.4)

    def forward(self, x: Tensor) -> Tensor:
        check_clouds(x, self.channels)
        x, _, _ = self.feat(x)
        x = F.relu(self.bn1(self.fc1(x)))
        x = F.relu(self.bn2(self.dropout(self.fc2(x))))
        return F.log_softmax(self.fc3(x), 1)


def pointnet_small(num_classes: int, with_normals: bool = False) -> PointNet:
    """PointNet at half its width: a quarter of the work and 0.74 M parameters, for training in a minute on a CPU."""
    return PointNet(num_classes, with_normals, width=32)


def transform_regulariser(transforms: Tensor, published: bool = False) -> Tensor:
    """How far alignments (B, K, K) are from orthogonal: the mean of ||A A^T - I||.

    ``published`` gives ||A (A^T - I)|| instead, which is what the published training code computes. The output of
    ``model.feat.fstn`` is what PointNet's authors regularise, with a weight of 0.001.
    """
    identity = torch.eye(transforms.shape[-1], dtype=transforms.dtype, device=transforms.device)
    if published:
        deviation = torch.bmm(transforms, transforms.transpose(1, 2) - identity)
    else:
        deviation = torch.bmm(transforms, transforms.transpose(1, 2)) - identity
    return torch.linalg.matrix_norm(deviation).mean()
