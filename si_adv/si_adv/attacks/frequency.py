"""AOF: the attack on the low frequencies of a cloud (Liu, Zhang and Zhu, "Boosting 3D Adversarial Attacks with Attacking
On Frequency", IEEE Access 2022).

A cloud is a signal on the graph of its own neighbours, and the eigenvectors of the graph's Laplacian are its frequencies.
"""

from __future__ import annotations

import torch
from torch import Tensor

from si_adv.attacks.base import Victim
from si_adv.attacks.optimization import TwoViewAttack
from si_adv.geometry import knn


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


class AOF(TwoViewAttack):
    """AOF: Adam on (1 - gamma) loss(cloud) + gamma loss(its low frequencies), in a box.

    As the authors' program: the graph of 30 neighbours of the clean cloud, 100 frequencies, the settings of
    ``TwoViewAttack``. The step is Adam's on the low-frequency cloud with the rest held fixed, which moves the points by as
    much; the cloud is split anew after the box.

    Args:
        num_frequencies: how many are low.

    Other arguments: see ``TwoViewAttack`` and ``OptimizationAttack``.
    """

    def __init__(self, model: Victim, *, num_frequencies: int = 100, **options) -> None:
        super().__init__(model, **options)
        self.num_frequencies = num_frequencies

    def _context(self, clean: Tensor, labels: Tensor, normals: Tensor | None) -> tuple[Tensor, ...]:
        return clean, low_frequencies(clean, self.num_frequencies)

    def _view(self, points: Tensor, *context: Tensor) -> Tensor:
        _, basis = context
        with torch.no_grad():
            low = basis @ (basis.transpose(1, 2) @ points)
        # The value of the low frequencies, and the gradient straight to the points.
        return low + points - points.detach()
