"""A prototype for every identity: the moving mean of its embeddings on the unit sphere."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from luperson_nl.pnl.sharding import AllClasses


class Prototypes(nn.Module):
    """Unit rows (C, dim), 0 until an identity is first seen.

    Args:
        num_classes: C.
        dim: of the embeddings.
        momentum: share of the old prototype that one embedding leaves.

    Attributes:
        rows: the prototypes, of the classes that are on this process.
        sums: like rows, of the embeddings since ``collect``; None before.
        classes: where the classes are.
    """

    rows: Tensor
    sums: Tensor | None

    def __init__(self, num_classes: int, dim: int, momentum: float = 0.999) -> None:
        super().__init__()
        self.momentum = momentum
        self.classes = AllClasses()
        self.register_buffer("rows", torch.zeros(num_classes, dim))
        self.register_buffer("sums", None, persistent=False)

    def similarity(self, queries: Tensor) -> Tensor:
        """(n, dim) -> (n, C) dot products with the rows; no gradient reaches them.

        The rows are copied, since ``update`` changes them before the backward pass reads them.
        """
        return queries @ self.rows.clone().t()

    def update(self, queries: Tensor, labels: Tensor) -> None:
        """Move the prototypes of labels (n,) towards queries (n, dim), one after the other in the order of the batch."""
        queries, labels = self.classes.held(queries, labels)
        momentum_update(self.rows, queries, labels, self.momentum)
        if self.sums is not None:
            self.sums.index_add_(0, labels, queries.detach().to(self.sums.dtype))

    def collect(self) -> None:
        """From here on, remember the embeddings for ``become_means``."""
        self.sums = torch.zeros_like(self.rows)

    @torch.no_grad()
    def become_means(self) -> None:
        """The mean of the embeddings since ``collect``, unit length; an identity without any keeps its prototype."""
        assert self.sums is not None
        seen = self.sums.any(1)
        self.rows[seen] = normalize(self.sums[seen], dim=1)
        self.sums = None

    @torch.no_grad()
    def num_unseen(self) -> int:
        """How many identities have no prototype yet."""
        return int(self.classes.total((self.rows == 0).all(dim=1).sum()))


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
