"""Distances by rows, as many at a time as memory allows: the whole matrix is never there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
import torch

ENTRIES_AT_ONCE = 2**25  # 128 MB of float32


class Distances(Protocol):
    """Distances of queries to a gallery, computed when they are asked for."""

    shape: tuple[int, int]
    limits: tuple[float, float]  # no distance lies outside of them

    def of(self, rows: np.ndarray | slice) -> np.ndarray:
        """Distances of some queries to all of the gallery: (len(rows), g) float32, the caller's to change."""
        ...


class Cosine:
    """1 - cosine of normalised features.

    Args:
        query: (q, d) float32 with rows of length 1.
        gallery: (g, d), the same.
        device: where the products are computed.
    """

    limits = (-1e-5, 2 + 1e-5)

    def __init__(self, query: np.ndarray, gallery: np.ndarray, device: str | torch.device = "cpu") -> None:
        self.shape = (len(query), len(gallery))
        self._query = torch.from_numpy(np.ascontiguousarray(query)).to(device)
        self._gallery = torch.from_numpy(np.ascontiguousarray(gallery)).to(device)
        self._one = torch.ones(1, 1, device=device)

    @torch.no_grad()
    def of(self, rows: np.ndarray | slice) -> np.ndarray:
        """See ``Distances``."""
        chosen = self._query[rows if isinstance(rows, slice) else torch.from_numpy(rows)]
        return torch.addmm(self._one, chosen, self._gallery.T, alpha=-1).cpu().numpy()


class SquaredEuclidean:
    """Squared Euclidean distances of features of any length.

    Args:
        query: (q, d) float32.
        gallery: (g, d).
        device: where the products are computed.
    """

    def __init__(self, query: np.ndarray, gallery: np.ndarray, device: str | torch.device = "cpu") -> None:
        self.shape = (len(query), len(gallery))
        self._query = torch.from_numpy(np.ascontiguousarray(query)).to(device)
        self._gallery = torch.from_numpy(np.ascontiguousarray(gallery)).to(device)
        self._query_squares = self._query.square().sum(1, keepdim=True)
        self._gallery_squares = self._gallery.square().sum(1)
        self.limits = (0.0, float((self._query_squares.max().sqrt() + self._gallery_squares.max().sqrt()) ** 2))

    @torch.no_grad()
    def of(self, rows: np.ndarray | slice) -> np.ndarray:
        """See ``Distances``."""
        index = rows if isinstance(rows, slice) else torch.from_numpy(rows)
        products = torch.addmm(self._gallery_squares, self._query[index], self._gallery.T, alpha=-2)
        return products.add_(self._query_squares[index]).clamp_(min=0).cpu().numpy()


def chunks(total: int, width: int, chunk: int | None = None) -> Iterator[slice]:
    """Slices of ``total`` rows of ``width`` entries, each of ``chunk`` rows or of what takes 128 MB."""
    step = chunk or max(1, ENTRIES_AT_ONCE // max(width, 1))
    for start in range(0, total, step):
        yield slice(start, min(start + step, total))


def nearest(distances: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The nearest entries of each row, nearest first, equal ones by their index.

    The minima of groups of columns bound the ``count``-th smallest entry from above, so that only a few entries a row
    are ever sorted.

    Args:
        distances: (r, g).
        count: at most g.

    Returns:
        Columns (r, count) int64 and their distances.
    """
    rows, width = distances.shape
    groups = max(count, min(width, max(4 * count, int(width**0.5))))
    depth = width // groups
    minima = distances[:, : groups * depth].reshape(rows, depth, groups).min(1)
    bound = np.partition(minima, count - 1, axis=1)[:, count - 1]
    if np.isinf(bound).any():  # fewer than ``count`` finite entries in the groups: no bound
        column = np.argsort(distances, axis=1, kind="stable")[:, :count]
        return column, np.take_along_axis(distances, column, 1)
    row, column = np.divmod(np.flatnonzero(distances <= bound[:, None]), width)
    value = distances[row, column]
    order = np.lexsort((value, row))  # stable: equal values stay in the order of their columns
    starts = np.searchsorted(row, np.arange(rows))
    chosen = order[starts[:, None] + np.arange(count)]
    return column[chosen], value[chosen]
