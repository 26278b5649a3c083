"""k-reciprocal re-ranking with sparse matrices (Zhong et al., CVPR 2017): memory O(N k) instead of four N x N tables.

Only the few nearest of each row are needed, and the largest distance of a row: the reciprocal sets, their overlaps and
the means over neighbours are sparse products, and the Jaccard distance differs from 1 only where two rows overlap.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from scipy import sparse

from luperson_nl.retrieval.distances import Cosine, SquaredEuclidean, chunks, nearest

RerankDistance = Literal["cosine", "euclidean"]
PAIRS_AT_ONCE = 2**20  # numbers of gathered features: 4 MB, which stay in the cache


class Reranked:
    """Re-ranked distances (1 - lambda) Jaccard + lambda D, computed when they are asked for (see ``Distances``).

    Args:
        query: (q, d) float32; of length 1 where the distance is the cosine's.
        gallery: (g, d), the same.
        k1: neighbours of a set.
        k2: neighbours that a row is averaged over.
        weight: lambda.
        distance: D is (1 - cosine)^2 as fast-reid has it, or the squared Euclidean distance as in the first script; both
            over the largest of the row.
        device: where products of features are computed.
    """

    limits = (-1e-5, 1 + 1e-5)

    def __init__(
        self,
        query: np.ndarray,
        gallery: np.ndarray,
        k1: int = 20,
        k2: int = 6,
        weight: float = 0.3,
        distance: RerankDistance = "cosine",
        device: str | torch.device = "cpu",
    ) -> None:
        self.shape = (len(query), len(gallery))
        self._weight, self._squared = weight, distance == "cosine"
        self._features = np.concatenate([query, gallery])
        total = len(self._features)
        made = Cosine if distance == "cosine" else SquaredEuclidean
        self._distances = made(self._features, self._features, device)
        neighbours = np.empty((total, min(max(k1 + 1, k2), total)), dtype=np.int32)
        self._largest = np.empty(total, dtype=np.float32)
        for rows in chunks(total, total):
            distances = self._distances.of(rows)
            neighbours[rows] = nearest(distances, neighbours.shape[1])[0]
            self._largest[rows] = distances.max(1)
        encoded = self._encoded(_expanded_sets(neighbours, k1))
        if k2 > 1:
            near = neighbours[:, :k2]
            encoded = sparse.csr_matrix(_sets(near, 1 / near.shape[1]) @ encoded)
        self._query = sparse.csr_matrix(encoded[: len(query)])
        self._gallery = sparse.csc_matrix(encoded[len(query) :])

    def _scaled(self, distances: np.ndarray, largest: np.ndarray) -> np.ndarray:
        """D: over the largest of the row; 1 - cosine is then squared."""
        scaled = np.divide(distances, np.maximum(largest, np.finfo(np.float32).tiny), out=distances)
        np.maximum(scaled, 0, out=scaled)
        return np.square(scaled, out=scaled) if self._squared else scaled

    def _encoded(self, sets: sparse.csr_matrix) -> sparse.csr_matrix:
        """exp(-D) on the sets, each row with the sum 1."""
        row = np.repeat(np.arange(len(self._features)), np.diff(sets.indptr))
        value = np.empty(sets.nnz, dtype=np.float32)
        step = max(1, PAIRS_AT_ONCE // self._features.shape[1])
        for start in range(0, sets.nnz, step):
            pairs = slice(start, start + step)
            first, second = self._features[row[pairs]], self._features[sets.indices[pairs]]
            if self._squared:
                value[pairs] = 1 - np.einsum("nd,nd->n", first, second)
            else:
                first -= second
                value[pairs] = np.einsum("nd,nd->n", first, first)
        value = np.exp(-self._scaled(value, self._largest[row]))
        total = np.add.reduceat(value, sets.indptr[:-1])
        return sparse.csr_matrix((value / total[row], sets.indices, sets.indptr), shape=sets.shape)

    def of(self, rows: np.ndarray | slice) -> np.ndarray:
        """See ``Distances``."""
        number = np.arange(self.shape[0])[rows]
        distances = self._distances.of(number)
        distances = self._scaled(distances, self._largest[number][:, None])[:, self.shape[0] :]
        distances *= self._weight
        for row, query in zip(distances, number, strict=True):
            overlap = self._overlap(query)
            row += (1 - self._weight) * (1 - overlap / (2 - overlap))
        return distances

    def _overlap(self, query: int) -> np.ndarray:
        """Sum of the minima of a query's encoding and each of the gallery's: (g,)."""
        own = slice(self._query.indptr[query], self._query.indptr[query + 1])
        column, value = self._query.indices[own], self._query.data[own]
        start, stop = self._gallery.indptr[column], self._gallery.indptr[column + 1]
        length = stop - start
        place = np.arange(length.sum()) + np.repeat(start - np.concatenate([[0], length.cumsum()[:-1]]), length)
        least = np.minimum(np.repeat(value, length), self._gallery.data[place])
        return np.bincount(self._gallery.indices[place], least, minlength=self.shape[1]).astype(np.float32)


def _sets(neighbours: np.ndarray, value: float = 1.0) -> sparse.csr_matrix:
    """A value where a row lists a column."""
    rows, count = neighbours.shape
    pointers = np.arange(0, rows * count + 1, count)
    values = np.full(rows * count, value, dtype=np.float32)
    return sparse.csr_matrix((values, np.sort(neighbours, axis=1).ravel(), pointers), shape=(rows, rows))


def _reciprocal(neighbours: np.ndarray) -> sparse.csr_matrix:
    """Ones where two rows list each other."""
    forward = _sets(neighbours)
    return sparse.csr_matrix(forward.multiply(forward.T))


def _expanded_sets(neighbours: np.ndarray, k1: int) -> sparse.csr_matrix:
    """The k-reciprocal sets, each with the half sets of its members that lie in it by more than two thirds."""
    full = _reciprocal(neighbours[:, : k1 + 1])
    half = _reciprocal(neighbours[:, : int(np.around(k1 / 2)) + 1])
    shared = sparse.coo_matrix(sparse.csr_matrix(full @ half.T).multiply(full))
    size = np.diff(half.indptr)
    inside = shared.data > 2.0 / 3 * size[shared.col]
    chosen = (shared.row[inside], shared.col[inside])
    members = sparse.csr_matrix((np.ones(inside.sum(), dtype=np.float32), chosen), shape=full.shape)
    sets = sparse.csr_matrix(full + members @ half)
    sets.sort_indices()
    return sets
