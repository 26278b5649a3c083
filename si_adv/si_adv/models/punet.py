"""PU-Net: point cloud upsampling, as used by the DUP-Net defence; and the losses to train it.

Yu et al., "PU-Net: Point Cloud Upsampling Network", CVPR 2018; Zhou et al., "DUP-Net: Denoiser and Upsampler
Network for 3D Adversarial Point Clouds Defense", ICCV 2019. Attribute names are those of the published weights
(``pu-in_1024-up_4.pth``).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from si_adv.geometry import FPSStart, ball_query, farthest_point_sampling, gather, knn


def _layer(inputs: int, outputs: int, activation: bool = True) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, 1)
    nn.init.kaiming_normal_(conv.weight)
    assert conv.bias is not None
    nn.init.zeros_(conv.bias)
    layer = nn.Sequential()
    layer.add_module("conv", conv)
    if activation:
        layer.add_module("activation", nn.ReLU())
    return layer


class SharedMLP(nn.Sequential):
    """1 x 1 convolutions with ReLU over (B, C, ., .), named layer0, layer1, ..."""

    def __init__(self, widths: Sequence[int], activation: bool = True) -> None:
        super().__init__()
        for index, (inputs, outputs) in enumerate(pairwise(widths)):
            self.add_module(f"layer{index}", _layer(inputs, outputs, activation))


class SetAbstraction(nn.Module):
    """Farthest points, each with the maximum over a network of the points in its ball."""

    def __init__(self, widths: Sequence[int], radius: float, num_samples: int, fps_start: FPSStart) -> None:
        super().__init__()
        self.radius, self.num_samples = radius, num_samples
        self.fps_start: FPSStart = fps_start
        self.mlps = nn.ModuleList([SharedMLP(widths)])

    def forward(self, points: Tensor, features: Tensor | None, num_points: int) -> tuple[Tensor, Tensor]:
        """points: (B, N, 3); features: (B, C, N) or None -> points (B, num_points, 3), features (B, C', num_points)."""
        centres = gather(points, farthest_point_sampling(points, num_points, self.fps_start))
        inside = ball_query(points, centres, self.radius, self.num_samples)
        grouped = gather(points, inside) - centres[:, :, None]
        if features is not None:
            grouped = torch.cat((grouped, gather(features.transpose(1, 2), inside)), -1)
        return centres, self.mlps[0](grouped.permute(0, 3, 1, 2)).amax(-1)


class FeaturePropagation(nn.Module):
    """Features of a coarse set at the points of a fine one: the three nearest, weighted by 1 / squared distance."""

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.mlp = SharedMLP(widths)

    def forward(self, points: Tensor, coarse: Tensor, features: Tensor) -> Tensor:
        """points: (B, N, 3); coarse: (B, S, 3); features: (B, C, S) -> (B, C', N)."""
        _, nearest = knn(points, coarse, min(3, coarse.shape[1]))
        squared = (points[:, :, None] - gather(coarse, nearest)).square().sum(-1)
        weights = 1 / (squared + 1e-8)
        weights = weights / weights.sum(-1, keepdim=True)
        interpolated = (gather(features.transpose(1, 2), nearest) * weights[..., None]).sum(2)
        return self.mlp(interpolated.transpose(1, 2)[..., None])[..., 0]


class PUNet(nn.Module):
    """The published up-sampler without batch norm and normals.

    forward: points (B, N, 3) -> (B, up_ratio * N, 3), the N points of the first branch, then those of the second, ...
    The coarse levels hold num_points / 2, / 4 and / 8 points whatever N is (all of them where N is less), for their
    ball radii belong to that density. fps_start: where farthest point sampling begins.
    """

    def __init__(self, num_points: int = 1024, up_ratio: int = 4, fps_start: FPSStart = "first") -> None:
        super().__init__()
        self.num_points, self.up_ratio = num_points, up_ratio
        widths = ((3, 32, 32, 64), (67, 64, 64, 128), (131, 128, 128, 256), (259, 256, 256, 512))
        radii = (0.05, 0.1, 0.2, 0.3)
        self.SA_modules = nn.ModuleList(
            SetAbstraction(width, radius, 32, fps_start) for width, radius in zip(widths, radii, strict=True)
        )
        self.FP_Modules = nn.ModuleList(FeaturePropagation((width[-1], 64)) for width in widths[1:])
        self.FC_Modules = nn.ModuleList(SharedMLP((4 * 64 + 3, 256, 128)) for _ in range(up_ratio))
        self.pcd_layer = nn.Sequential(SharedMLP((128, 64)), SharedMLP((64, 3), activation=False))

    def forward(self, points: Tensor) -> Tensor:
        num_points = points.shape[1]
        levels: list[tuple[Tensor, Tensor]] = []
        for level, module in enumerate(self.SA_modules):
            size = num_points if level == 0 else min(num_points, self.num_points // 2**level)
            levels.append(module(*(levels[-1] if levels else (points, None)), size))
        propagated = [module(points, *level) for module, level in zip(self.FP_Modules, levels[1:], strict=True)]
        # The first level holds all points in the order of farthest point sampling, and the published network joins it
        # with the others, which are in the order of the input; its weights were trained so.
        features = torch.cat((points.transpose(1, 2), levels[0][1], *propagated), 1)[..., None]
        expanded = torch.cat([branch(features) for branch in self.FC_Modules], 2)
        return self.pcd_layer(expanded)[..., 0].transpose(1, 2)


def sparse_input(dense: Tensor, up_ratio: int = 4, generator: torch.Generator | None = None) -> Tensor:
    """The training input that belongs to a dense cloud: a random 1 / up_ratio of its points, drawn for every cloud.

    dense: (B, M, 3) -> (B, M // up_ratio, 3).
    """
    order = torch.rand(dense.shape[:2], generator=generator).argsort(1)
    return gather(dense, order[:, : dense.shape[1] // up_ratio].to(dense.device))


def punet_losses(
    predicted: Tensor, dense: Tensor, repulsion_weight: float = 0.01, num_neighbours: int = 5, bandwidth: float = 0.03
) -> dict[str, Tensor]:
    """The joint loss of PU-Net (paper, section 3.4) with the Chamfer distance for reconstruction.

    The paper takes the earth mover's distance; the Chamfer distance needs no assignment.

    Args:
        predicted: (B, R, 3).
        dense: (B, M, 3), the clouds it should cover.

    Returns:
        ``chamfer``: mean squared distance to the nearest point of the other cloud, both directions added; ``repulsion``:
        mean of -r exp(-r^2 / bandwidth^2) over the distances r of every predicted point to its nearest others, which
        drives points apart; ``loss``: chamfer + repulsion_weight * repulsion.
    """
    _, to_dense = knn(predicted, dense, 1)
    _, to_predicted = knn(dense, predicted, 1)
    coverage = (predicted - gather(dense, to_dense[..., 0])).square().sum(-1).mean()
    completeness = (dense - gather(predicted, to_predicted[..., 0])).square().sum(-1).mean()
    _, nearest = knn(predicted, predicted, num_neighbours + 1)
    squared = (predicted[:, :, None] - gather(predicted, nearest[..., 1:])).square().sum(-1)
    distance = squared.clamp_min(1e-12).sqrt()  # coinciding points: no direction to go, and no NaN
    repulsion = -(distance * torch.exp(-squared / bandwidth**2)).mean()
    chamfer = coverage + completeness
    return {"loss": chamfer + repulsion_weight * repulsion, "chamfer": chamfer, "repulsion": repulsion}
