"""HiT-ADV: smooth deformations hidden where the surface is intricate (Lou et al., "Hide in Thicket", CVPR 2024)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from si_adv.attacks.base import Victim, gradient_of
from si_adv.attacks.optimization import OptimizationAttack
from si_adv.geometry import farthest_point_sampling, gather, knn
from si_adv.losses import chamfer_distance, cross_entropy_loss, curvature_from_neighbours


def deformed(points: Tensor, centres: Tensor, moves: Tensor, widths: Tensor) -> Tensor:
    """Points moved by the weighted mean of the moves of centres, the weight exp(-distance / (2 width^2)).

    Args:
        points: (B, N, 3).
        centres: (B, C, 3).
        moves: (B, C, 3).
        widths: (B, C).

    Returns:
        (B, N, 3).
    """
    distance = torch.cdist(points, centres, compute_mode="donot_use_mm_for_euclid_dist")
    return points + (-distance / (2 * widths.square())[:, None]).softmax(2) @ moves


class HiTAdv(OptimizationAttack):
    """HiT-ADV: Adam on the moves and widths of Gaussian kernels around points of intricate curvature.

    As the authors' program: of 256 farthest points each gives way to the one among its 17 nearest where the curvature
    varies most over a neighbourhood of 16 (plus 0.001 of the saliency of point dropping), and the best 192 become centres;
    every point moves by the mean of the centres' moves, weighted by kernels of width 0.1 to 1.2; the penalty is (||moves|| +
    ||1 - widths||) / 192, the cosine between a centre's curvature and its width, and 1e-4 of the Chamfer distance, under the
    search of Carlini and Wagner; a margin of 30; rates five and three times 0.01; moves to 0.55 a coordinate. Here farthest
    point sampling begins at the first point, norms and scales are of each cloud (there of the batch), and the nearest success
    is the one of the least penalty (there of the least size of moves and widths).

    Args:
        num_candidates: points that are sampled.
        num_centres: those that become centres of kernels.
        eps: largest move of a centre, per coordinate.
        widths: smallest and largest of a kernel.
        k: neighbourhood of the curvature.
        margin: see ``OptimizationAttack``.

    Other arguments: see ``OptimizationAttack``.
    """

    needs_normals = True
    fixed = ("start_noise",)

    def __init__(
        self,
        model: Victim,
        *,
        num_candidates: int = 256,
        num_centres: int = 192,
        eps: float = 0.55,
        widths: tuple[float, float] = (0.1, 1.2),
        k: int = 16,
        margin: float | None = 30.0,
        **options,
    ) -> None:
        super().__init__(model, start_noise=0.0, margin=margin, **options)
        self.num_candidates, self.num_centres, self.k = num_candidates, num_centres, k
        self.eps, self.widths = eps, (widths[0], widths[1])

    def _context(self, clean: Tensor, labels: Tensor, normals: Tensor | None) -> tuple[Tensor, ...]:
        """The clouds, their centres (b, C, 3) and how curved each is, (b, C) in 0..1."""
        assert normals is not None  # needs_normals
        _, neighbours = knn(clean, clean, self.k + 1)
        curvature = curvature_from_neighbours(clean, normals, neighbours)
        intricacy = gather(curvature[..., None], neighbours[..., 1:])[..., 0].std(2)
        score = _unit_range(intricacy) + 0.001 * _unit_range(self._saliency(clean, labels))
        sampled = farthest_point_sampling(clean, min(self.num_candidates, clean.shape[1]))
        around = gather(neighbours, sampled)
        best = gather(score[..., None], around)[..., 0].max(2)
        candidates = around.gather(2, best.indices[..., None])[..., 0]
        chosen = best.values.topk(min(self.num_centres, candidates.shape[1]), dim=1).indices
        centres = candidates.gather(1, chosen)
        return clean, gather(clean, centres), _unit_range(curvature.gather(1, centres))

    def _saliency(self, clean: Tensor, labels: Tensor) -> Tensor:
        """-r (p - c) . dCE/dp of every point, c the median of the cloud and r the distance from it: (b, N)."""
        points = clean.clone().requires_grad_()
        loss = cross_entropy_loss(self._forward(points, labels), labels, targeted=True).sum()
        offset = clean - clean.median(1, keepdim=True).values
        return -torch.linalg.vector_norm(offset, dim=-1) * (offset * gradient_of(loss, points)).sum(-1)

    def _begin(self, generators: list[torch.Generator], clean: Tensor, *context: Tensor) -> Tensor:
        """Moves and widths (b, C, 4), drawn anew."""
        centres, _ = context
        low, high = self.widths
        draws = torch.stack([torch.rand(centres.shape[1], 4, generator=generator) for generator in generators])
        draws = draws.to(centres)
        return torch.cat((self.eps * draws[..., :3], low + (high - low) * draws[..., 3:]), 2)

    def _points(self, variable: Tensor, *context: Tensor) -> Tensor:
        clean, centres, _ = context
        return deformed(clean, centres, variable[..., :3], variable[..., 3])

    def _rates(self, variable: Tensor) -> Tensor | float:
        return self.learning_rate * torch.tensor([5.0, 5.0, 5.0, 3.0]).to(variable)

    def _distance(self, points: Tensor, variable: Tensor, *context: Tensor) -> Tensor:
        clean, _, curved = context
        moves, widths = variable[..., :3], variable[..., 3]
        low, high = self.widths
        size = torch.linalg.vector_norm(moves, dim=(1, 2)) + torch.linalg.vector_norm(1 - widths, dim=1)
        hidden = F.cosine_similarity(curved, (widths - low) / (high - low), dim=1)
        return size / variable.shape[1] + hidden + 1e-4 * chamfer_distance(points, clean)

    def _project(self, variable: Tensor, normals: Tensor | None, *context: Tensor) -> Tensor:
        moves = variable[..., :3].clamp(-self.eps, self.eps)
        return torch.cat((moves, variable[..., 3:].clamp(*self.widths)), 2)


def _unit_range(values: Tensor) -> Tensor:
    """Every row (b, N) brought to 0..1."""
    low, high = values.aminmax(dim=1, keepdim=True)
    return (values - low) / (high - low + 1e-7)
