"""What is known of the live tracks, a row of arrays each, so that a frame costs a few array operations."""

from __future__ import annotations

import numpy as np


class LiveTracks:
    """Arrays of what is known of the live tracks, a row each; rows that end are used again.

    mean (n, 8), blocks (n, 3, 4): see ``kalman``; features (n, D): embeddings; overlapped (n,): the last frame in which
    a track overlapped another one; classes (n,), -1 where unknown; detection (n,): the row of this frame's detections that
    updated it, -1 where none did; expired (n,): which end when they are lost again.
    """

    FIELDS = (
        "mean",
        "blocks",
        "features",
        "ids",
        "score",
        "first_frame",
        "last_frame",
        "overlapped",
        "classes",
        "detection",
        "confirmed",
        "expired",
    )

    def __init__(self) -> None:
        self.mean, self.blocks = np.zeros((0, 8)), np.zeros((0, 3, 4))
        self.features = np.zeros((0, 0), dtype=np.float32)
        self.ids, self.score = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32)
        self.first_frame, self.last_frame, self.overlapped = (np.zeros(0, dtype=np.int64) for _ in range(3))
        self.classes, self.detection = (np.zeros(0, dtype=np.int64) for _ in range(2))
        self.confirmed, self.expired = np.zeros(0, dtype=bool), np.zeros(0, dtype=bool)
        self.free = np.zeros(0, dtype=np.int64)

    def widen(self, dimension: int) -> None:
        """Make room for embeddings, where there was none: rows begun without one look like nobody."""
        if self.features.shape[1] != dimension:
            self.features = np.zeros((len(self.ids), dimension), dtype=np.float32)

    def take(self, count: int) -> np.ndarray:
        """``count`` unused rows."""
        size = len(self.ids)
        if count > len(self.free):
            grown = max(64, 2 * size, size + count)
            for name in self.FIELDS:
                old = getattr(self, name)
                new = np.zeros((grown, *old.shape[1:]), dtype=old.dtype)
                new[:size] = old
                setattr(self, name, new)
            self.free = np.concatenate([self.free, np.arange(size, grown)])
        taken, self.free = self.free[:count], self.free[count:]
        return taken

    def among(self, rows: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        """Which of ``rows`` are ``chosen`` ones (np.isin without its sorting)."""
        marked = np.zeros(len(self.ids), dtype=bool)
        marked[chosen] = True
        return marked[rows]

    def release(self, live: np.ndarray) -> None:
        """Give back all rows but the live ones."""
        used = np.ones(len(self.ids), dtype=bool)
        used[live] = False
        self.free = np.flatnonzero(used)
