"""AOF: the attack on the low frequencies of a cloud (Liu, Zhang and Zhu, "Boosting 3D Adversarial Attacks with Attacking
On Frequency", IEEE Access 2022).

A cloud is a signal on the graph of its own neighbours, and the eigenvectors of the graph's Laplacian are its frequencies.
"""

from __future__ import annotations

import torch
from torch import Tensor

from si_adv.attacks.base import Victim
from si_adv.attacks.optimization import OptimizationAttack
from si_adv.geometry import knn
from si_adv.losses import clip_linf, l2_distance


@torch.no_grad()
def low_frequencies(points: Tensor, count: int, k: int = 30) -> Tensor:
    """The eigenvectors of the ``count`` smallest eigenvalues of a cloud's graph Laplacian D - A.

    A joins two points with exp(-d^2), d their distance, where one is among the k nearest points of the other.

    Args:
        points: (B, N, 3).
        count: at most N.
        k: neighbours of a point, itself one.

    Returns:
        (B, N, count), orthonormal columns, slowest first.
    """
    batch, num_points, _ = points.shape
    distances, indices = knn(points, points, min(k, num_points))
    adjacency = points.new_zeros(batch, num_points, num_points, dtype=torch.float64)
    adjacency.scatter_(2, indices, (-distances.double()).exp())
    adjacency = torch.maximum(adjacency, adjacency.transpose(1, 2))
    laplacian = torch.diag_embed(adjacency.sum(2)) - adjacency
    return torch.linalg.eigh(laplacian).eigenvectors[..., : min(count, num_points)].to(points.dtype)


class AOF(OptimizationAttack):
    """AOF: Adam on (1 - gamma) loss(cloud) + gamma loss(its low frequencies), in a box.

    As the authors' program: the graph of 30 neighbours of the clean cloud, 100 frequencies, gamma 0.25, a margin of 30, two
    descents of 200 steps at 0.01, the box after every step. The step is Adam's on the low-frequency cloud with the rest held
    fixed, which moves the points by as much; the cloud is split anew after the box. Success is that the cloud and its low
    frequencies alone are both misclassified; of those iterates the one nearest in L2 comes back. Here the iterate that was
    looked at comes back, there the one a step later.

    Args:
        gamma: weight of the low frequencies.
        num_frequencies: how many are low.
        eps: half-width of the box.
        margin: see ``OptimizationAttack``.

    Other arguments: see ``OptimizationAttack``.
    """

    fixed = ("weight", "max_weight")
    passes = 2

    def __init__(
        self,
        model: Victim,
        *,
        gamma: float = 0.25,
        num_frequencies: int = 100,
        eps: float = 0.18,
        learning_rate: float = 0.01,
        iterations: int = 200,
        search_steps: int = 2,
        margin: float | None = 30.0,
        start_noise: float = 1e-7,
        **options,
    ) -> None:
        super().__init__(
            model,
            learning_rate=learning_rate,
            iterations=iterations,
            search_steps=search_steps,
            weight=0.0,
            max_weight=None,
            start_noise=start_noise,
            margin=margin,
            **options,
        )
        self.gamma, self.num_frequencies, self.eps = gamma, num_frequencies, eps

    def _context(self, clean: Tensor, labels: Tensor, normals: Tensor | None) -> tuple[Tensor, ...]:
        return clean, low_frequencies(clean, self.num_frequencies)

    def _attack_loss(self, points: Tensor, labels: Tensor, *context: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        _, basis = context
        loss, output, reached = super()._attack_loss(points, labels, *context)
        with torch.no_grad():
            low = basis @ (basis.transpose(1, 2) @ points)
        # The value of the low frequencies, and the gradient straight to the points.
        low_loss, _, low_reached = super()._attack_loss(low + points - points.detach(), labels, *context)
        return (1 - self.gamma) * loss + self.gamma * low_loss, output, reached & low_reached

    def _distance(self, points: Tensor, variable: Tensor, *context: Tensor) -> Tensor:
        return l2_distance(points, context[0])

    def _project(self, variable: Tensor, normals: Tensor | None, *context: Tensor) -> Tensor:
        return clip_linf(variable, context[0], self.eps)
