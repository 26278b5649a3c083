"""Can a matrix of rank k be completed from the entries that are there? The pattern alone decides, for almost every matrix.

The matrix is a product U V^T, its columns signals of the model that U spans, each seen through the mask of its entries. At a
random point the derivative of the seen entries has rank k (n + N - k), the dimension of the matrices of rank k, if and only if
almost every matrix with this pattern has finitely many completions. A column's code is eliminated: with Q_i the complement of
the rows of U that it shows, it leaves Q_i^T dU c_i = 0, and what is needed is rank n k - k^2 of these equations and at least k
entries in every column.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from incomplete_sensing.identifiability.direct_test import FLOOR
from shared_utils import UserError

_WIDEST = 4000


@dataclass(frozen=True)
class Completion:
    """What a pattern of entries says of matrices of rank k.

    ``free``: dimensions of the completions of almost every matrix, 0 where they are finitely many; ``short_columns`` and
    ``short_rows`` have fewer than k entries. ``smallest`` is the singular value that the answer rests on, over the largest.
    """

    shape: tuple[int, int]
    k: int
    seen: int
    free: int
    short_columns: int
    short_rows: int
    smallest: float

    @property
    def dimension(self) -> int:
        """k (n + N - k), the numbers that a matrix of rank k has to choose."""
        return self.k * (sum(self.shape) - self.k)

    @property
    def possible(self) -> bool:
        return self.free == 0


def completion(seen: np.ndarray, k: int, seed: int = 0) -> Completion:
    """Test a pattern (n, N), True where an entry is there, for matrices of rank k, at a point drawn from ``seed``.

    Raises:
        UserError: k is not a rank of such a matrix, or the shorter side times k exceeds what is computed.
    """
    seen = np.asarray(seen, dtype=bool)
    shape = (int(seen.shape[0]), int(seen.shape[1]))
    if not 1 <= k <= min(shape):
        raise UserError(f"k = {k}: a {shape[0]} x {shape[1]} matrix has a rank between 1 and {min(shape)}")
    # The factor of the shorter side is kept, the codes of the longer one are eliminated.
    pattern = seen if shape[0] <= shape[1] else seen.T
    n, columns = pattern.shape
    if n * k > _WIDEST:
        raise UserError(f"{n} rows (the shorter side) times k = {k} are more than {_WIDEST}: test a part of the matrix")
    rng = np.random.default_rng(seed)
    basis, codes = rng.standard_normal((n, k)), rng.standard_normal((columns, k))
    gram, lost = np.zeros((n * k, n * k)), 0
    for kept, code in zip(pattern.T, codes, strict=True):
        places = np.flatnonzero(kept)
        lost += max(0, k - len(places))
        if len(places) <= k:
            continue
        frame = np.linalg.qr(basis[places])[0]
        outside = np.eye(len(places)) - frame @ frame.T
        rows = (places[:, None] * k + np.arange(k)).reshape(-1)
        gram[np.ix_(rows, rows)] += np.kron(outside, np.outer(code, code))
    values = np.sqrt(np.maximum(np.linalg.eigvalsh(gram)[::-1], 0.0))
    rank = int((values > FLOOR * max(values[0], 1e-300)).sum())
    free = (n * k - k * k - rank) + lost
    short = [int((pattern.sum(axis) < k).sum()) for axis in (0, 1)]
    if pattern is not seen:
        short.reverse()
    smallest = float(values[rank - 1] / values[0]) if rank else 1.0
    return Completion(shape, k, int(seen.sum()), free, short[0], short[1], smallest)
