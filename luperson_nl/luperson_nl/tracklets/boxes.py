"""Boxes of people by frame, as detectors and trackers give them, and the arithmetic of boxes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True, eq=False)
class Boxes:
    """The boxes of a video, sorted by frame.

    frame: (n,) int32, 1-based. box: (n, 4) float64 x1, y1, x2, y2 in pixels. score: (n,) float64. track: (n,) int64, -1
    where a box belongs to none. number: (n,) int32, of the box within its frame.
    """

    frame: np.ndarray
    box: np.ndarray
    score: np.ndarray
    track: np.ndarray
    number: np.ndarray

    def __len__(self) -> int:
        return len(self.frame)

    def __getitem__(self, rows: np.ndarray | slice) -> Boxes:
        return Boxes(self.frame[rows], self.box[rows], self.score[rows], self.track[rows], self.number[rows])

    @property
    def tracked(self) -> bool:
        """Whether any box belongs to a track."""
        return bool((self.track >= 0).any())

    def scaled(self, x: float, y: float) -> Boxes:
        return replace(self, box=self.box * [x, y, x, y])

    def with_tracks(self, track: np.ndarray) -> Boxes:
        return replace(self, track=track)

    def by_frame(self) -> Iterator[tuple[int, np.ndarray]]:
        """(frame, rows of its boxes) of every frame that has any, in order."""
        frames, starts = np.unique(self.frame, return_index=True)
        if len(frames):
            yield from zip(frames.tolist(), np.split(np.arange(len(self)), starts[1:]), strict=True)


def make(
    frame: np.ndarray, box: np.ndarray, score: np.ndarray, track: np.ndarray, number: np.ndarray | None = None
) -> Boxes:
    """Boxes sorted by frame, in their order within a frame; numbered there where they have no numbers."""
    order = np.argsort(frame, kind="stable")
    frame = np.asarray(frame, np.int32)[order]
    if number is None:
        _, starts, inverse = np.unique(frame, return_index=True, return_inverse=True)
        number = np.arange(len(frame)) - starts[inverse]
    else:
        number = np.asarray(number)[order]
    return Boxes(
        frame,
        np.asarray(box, np.float64).reshape(-1, 4)[order],
        np.asarray(score, np.float64)[order],
        np.asarray(track, np.int64)[order],
        number.astype(np.int32),
    )


def iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(n, 4) and (m, 4) xyxy -> (n, m) intersection over union; 0 for boxes without area."""
    corners = np.minimum(a[:, None, 2:], b[None, :, 2:]) - np.maximum(a[:, None, :2], b[None, :, :2])
    shared = np.prod(np.maximum(corners, 0), axis=2)
    area_a, area_b = (np.prod(np.maximum(box[:, 2:] - box[:, :2], 0), axis=1) for box in (a, b))
    union = area_a[:, None] + area_b[None] - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def assign(similarity: np.ndarray, least: float) -> tuple[np.ndarray, np.ndarray]:
    """Pairs (rows, columns) of a one-to-one assignment with the largest sum of similarities of at least ``least``."""
    from scipy.optimize import linear_sum_assignment

    allowed = similarity >= least
    rows, columns = linear_sum_assignment(np.where(allowed, similarity, 0), maximize=True)
    kept = allowed[rows, columns]
    return rows[kept], columns[kept]
