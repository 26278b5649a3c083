"""True positives at a rate of false ones, over all pairs of query and gallery, from counts."""

from __future__ import annotations

import numpy as np

BINS = 2**20
RATES = (1e-4, 1e-3, 1e-2)


class RocCounts:
    """Counts of distances between different persons on a fine grid, and the few between the same ones.

    The rates that come out are those of a threshold on the grid, hence exact points of the curve; memory does not grow
    with the number of pairs of different persons.

    Args:
        limits: of the distances.
    """

    def __init__(self, limits: tuple[float, float]) -> None:
        self._low = limits[0]
        self._scale = BINS / (limits[1] - limits[0])
        self._different = np.zeros(BINS, dtype=np.int64)
        self._same = np.zeros(BINS, dtype=np.int64)

    def _count(self, distances: np.ndarray) -> np.ndarray:
        scaled = (distances - np.float32(self._low)) * np.float32(self._scale)
        return np.bincount(np.clip(scaled, 0, BINS - 1, out=scaled).astype(np.int32), minlength=BINS)

    def add(self, distances: np.ndarray, matches: list[np.ndarray], dropped: list[np.ndarray]) -> None:
        """Add queries: their rows (r, g), and the indices of matches and of dropped pictures a row."""
        same = [row[index] for row, index in zip(distances, matches, strict=True)]
        ignored = [row[index] for row, index in zip(distances, dropped, strict=True)]
        if not same:
            return
        same_counts = self._count(np.concatenate(same))
        self._same += same_counts
        self._different += self._count(distances.ravel()) - same_counts - self._count(np.concatenate(ignored))

    def rates(self) -> dict[float, float]:
        """TPR at the largest threshold whose FPR is at most each of 1e-4, 1e-3, 1e-2."""
        if not self._same.any():
            return {}
        different, same = np.cumsum(self._different), np.cumsum(self._same)
        found = {}
        for rate in RATES:
            bins = int(np.searchsorted(different, rate * different[-1], "right"))
            found[rate] = float(same[bins - 1] / same[-1]) if bins else 0.0
        return found
