"""The old protocol of CUHK03: a gallery of one picture a person, drawn ten times; only the CMC is of it."""

from __future__ import annotations

import numpy as np

DRAWS = 10


class SingleShot:
    """Sums the CMC of galleries with one picture a person.

    Of other persons the draw is the same for all queries; of the query's own person it is one of the matches, so that
    pictures of its own camera are never drawn.

    Args:
        gallery_pid: (g,).
        max_rank: length of the CMC.
        seed: of the draws.
    """

    def __init__(self, gallery_pid: np.ndarray, max_rank: int, seed: int) -> None:
        self._random = np.random.default_rng(seed)
        self._persons, first, count = np.unique(gallery_pid, return_index=True, return_counts=True)
        by_person = np.argsort(gallery_pid, kind="stable")
        starts = count.cumsum() - count
        self._pid = gallery_pid
        self._drawn = by_person[starts + self._random.integers(0, count, (DRAWS, len(first)))]
        self._first = np.zeros(max_rank, dtype=np.int64)
        self._queries = 0

    def add(self, row: np.ndarray, matches: np.ndarray) -> None:
        """Add a query by its distances (g,) and the indices of its matches."""
        own = matches[self._random.integers(0, len(matches), DRAWS)][:, None]
        drawn = np.delete(self._drawn, np.searchsorted(self._persons, self._pid[matches[0]]), axis=1)
        value, mine = row[drawn], row[own]
        rank = ((value < mine) | ((value == mine) & (drawn < own))).sum(1)
        self._first += np.bincount(rank[rank < len(self._first)], minlength=len(self._first))
        self._queries += 1

    def cmc(self) -> np.ndarray:
        """The mean over draws and queries: (max_rank,)."""
        return self._first.cumsum() / (DRAWS * max(self._queries, 1))
