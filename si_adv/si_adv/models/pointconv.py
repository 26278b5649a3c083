"""PointConv: convolution weights as a function of the relative position, balanced by the density of the points.

Wu et al., "PointConv: Deep Convolutional Networks on 3D Point Clouds", CVPR 2019. Attribute names are those of the
published checkpoints (``pointconv``).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from si_adv.geometry import FPSStart, farthest_point_sampling, gather, knn
from si_adv.models.pointwise import as_stored, check_clouds, folded, pointwise_layers, pointwise_mlp


class PointwiseNet(nn.Module):
    """ReLU layers on groups, the last one included: (B, in, K, S) -> (B, out, K, S).

    The weight net (3-8-8-16) and the density net (1-16-8-1). The density net was meant to end in a sigmoid; the
    published code never reaches it, and the checkpoints were trained with the ReLU.
    """

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.mlp_convs, self.mlp_bns = pointwise_layers(widths)

    def forward(self, x: Tensor) -> Tensor:
        return pointwise_mlp(x.permute(0, 3, 2, 1), self.mlp_convs, self.mlp_bns).permute(0, 3, 2, 1)


def inverse_density(points: Tensor, bandwidth: float) -> Tensor:
    """One over the mean Gaussian kernel at every point (constant 2.5 for sqrt(2 pi)): (B, N, 3) -> (B, N, 1)."""
    # The published order of operations. A rounding more or less in the exponent, which is divided by the squared
    # bandwidth, is enough to switch a ReLU of the next layers.
    norms = points.square().sum(-1)
    squared = torch.baddbmm(norms[:, :, None], points, points.transpose(1, 2), alpha=-2) + norms[:, None]
    kernel = torch.exp(-squared / (2 * bandwidth**2)) / (2.5 * bandwidth)
    return 1 / kernel.mean(-1)[..., None]


class PointConvLevel(nn.Module):
    """One level: points (B, 3, N), features (B, D, N) or None -> centres (B, 3, S), features (B, width, S).

    Neighbourhoods of the ``num_samples`` nearest points of sampled centres, or with ``num_samples`` None the whole
    cloud about its mean.
    """

    def __init__(
        self,
        num_centres: int,
        num_samples: int | None,
        widths: Sequence[int],
        bandwidth: float,
        fps_start: FPSStart = "first",
    ) -> None:
        super().__init__()
        self.num_centres, self.num_samples, self.bandwidth = num_centres, num_samples, bandwidth
        self.fps_start: FPSStart = fps_start
        self.mlp_convs, self.mlp_bns = pointwise_layers(widths)
        self.weightnet = PointwiseNet((3, 8, 8, 16))
        self.densitynet = PointwiseNet((1, 16, 8, 1))
        self.linear, self.bn_linear = nn.Linear(16 * widths[-1], widths[-1]), nn.BatchNorm1d(widths[-1])

    def forward(self, points: Tensor, features: Tensor | None) -> tuple[Tensor, Tensor]:
        points = points.transpose(1, 2)
        features = None if features is None else features.transpose(1, 2)
        density = inverse_density(points, self.bandwidth)
        if self.num_samples is None:
            centres = points.mean(1, keepdim=True)
            relative, density = points[:, None] - centres[:, :, None], density[:, None]
            groups = relative if features is None else torch.cat((relative, features[:, None]), -1)
            groups = pointwise_mlp(groups, self.mlp_convs, self.mlp_bns)
        else:
            centres = gather(points, farthest_point_sampling(points, self.num_centres, self.fps_start))
            _, indices = knn(centres, points, self.num_samples)
            relative, density = gather(points, indices) - centres[:, :, None], gather(density, indices)
            groups = self._features(points, features, centres, indices, relative)
        density = density / density.amax(2, keepdim=True)
        scale = self.densitynet(density.permute(0, 3, 2, 1)).permute(0, 3, 2, 1)
        weights = self.weightnet(relative.permute(0, 3, 2, 1)).permute(0, 3, 2, 1)
        # The density scales a whole neighbour, so it may as well scale its 16 weights.
        x = torch.matmul(groups.transpose(2, 3), weights * scale).flatten(2)
        x = F.relu(self.bn_linear(self.linear(x).transpose(1, 2)))
        return centres.transpose(1, 2), x

    def _features(
        self, points: Tensor, features: Tensor | None, centres: Tensor, indices: Tensor, relative: Tensor
    ) -> Tensor:
        """The layers on (point - centre, feature): (B, S, K, width). In evaluation the first runs before the gathering."""
        if as_stored(self.mlp_convs[0], self.mlp_bns[0]):
            groups = relative if features is None else torch.cat((relative, gather(features, indices)), -1)
            return pointwise_mlp(groups, self.mlp_convs, self.mlp_bns)
        weight, bias = folded(self.mlp_convs[0], self.mlp_bns[0])
        joined = points if features is None else torch.cat((points, features), -1)
        groups = gather(F.linear(joined, weight, bias), indices) - F.linear(centres, weight[:, :3])[:, :, None]
        return pointwise_mlp(F.relu(groups, inplace=True), self.mlp_convs[1:], self.mlp_bns[1:])


class PointConv(nn.Module):
    """The published classifier ``pointconv``.

    forward: (B, 3, N), or (B, 6, N) with normals, -> log-probabilities (B, num_classes). ``fps_start`` says where
    farthest point sampling starts.
    """

    def __init__(self, num_classes: int, with_normals: bool = False, fps_start: FPSStart = "first") -> None:
        super().__init__()
        self.channels = 6 if with_normals else 3
        self.sa1 = PointConvLevel(512, 32, (self.channels, 64, 64, 128), 0.1, fps_start)
        self.sa2 = PointConvLevel(128, 64, (128 + 3, 128, 128, 256), 0.2, fps_start)
        self.sa3 = PointConvLevel(1, None, (256 + 3, 256, 512, 1024), 0.4)
        self.fc1, self.bn1, self.drop1 = nn.Linear(1024, 512), nn.BatchNorm1d(512), nn.Dropout(0.7)
        self.fc2, self.bn2, self.drop2 = nn.Linear(512, 256), nn.BatchNorm1d(256), nn.Dropout(0.7)
        self.fc3 = nn.Linear(256, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        check_clouds(x, self.channels)
        points, features = self.sa1(x[:, :3], x[:, 3:] if self.channels == 6 else None)
        points, features = self.sa2(points, features)
        _, features = self.sa3(points, features)
        x = self.drop1(F.relu(self.bn1(self.fc1(features[..., 0]))))
        x = self.drop2(F.relu(self.bn2(self.fc2(x))))
        return F.log_softmax(self.fc3(x), -1)
