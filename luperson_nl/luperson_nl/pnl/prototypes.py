"""A prototype for every identity: the moving mean of its embeddings on the unit sphere."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize


class Prototypes(nn.Module):
    """Unit rows (C, dim), 0 until an identity is first seen.

    Args:
        num_classes: C.
        dim: of the embeddings.
        momentum: share of the old prototype that one embedding leaves.
    """

    rows: Tensor

    def __init__(self, num_classes: int, dim: int, momentum: float = 0.999) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("rows", torch.zeros(num_classes, dim))

    def similarity(self, queries: Tensor) -> Tensor:
        """(n, dim) -> (n, C) dot products; no gradient reaches the prototypes.

        The rows are copied, since ``update`` changes them before the backward pass reads them.
        """
        return queries @ self.rows.clone().t()

    def update(self, queries: Tensor, labels: Tensor) -> None:
        """Move the prototypes of labels (n,) towards queries (n, dim), one after the other in the order of the batch."""
        momentum_update(self.rows, queries, labels, self.momentum)

    @torch.no_grad()
    def num_unseen(self) -> int:
        """How many identities have no prototype yet."""
        return int((self.rows == 0).all(dim=1).sum())


@torch.no_grad()
def momentum_update(prototypes: Tensor, queries: Tensor, labels: Tensor, momentum: float) -> None:
    """``c <- m c + (1 - m) q`` for every sample in order, then unit length, in closed form; in place.

    The n occurrences q_0 .. q_(n-1) of one label give ``m^n c + (1 - m) sum_i m^(n-1-i) q_i``; only the rows that occur
    are touched.

    Args:
        prototypes: (C, dim), rows of unit length or 0.
        queries: (n, dim).
        labels: (n,) int64.
        momentum: m.
    """
    order = torch.argsort(labels, stable=True)
    rows, group, counts = torch.unique_consecutive(labels[order], return_inverse=True, return_counts=True)
    last = counts.cumsum(0) - 1
    later = last[group] - torch.arange(len(order), device=labels.device)
    weights = (1 - momentum) * torch.pow(momentum, later.to(prototypes.dtype))
    moved = prototypes[rows] * torch.pow(momentum, counts.to(prototypes.dtype))[:, None]
    moved.index_add_(0, group, queries.detach()[order].to(prototypes.dtype) * weights[:, None])
    prototypes[rows] = normalize(moved, dim=1)
