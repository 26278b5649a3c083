"""Which boxes become crops: filters of single boxes, then the length of a track, then every so many frames."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from luperson_nl.tracklets.boxes import Boxes, iou
from shared_utils import UserError


@dataclass(frozen=True)
class Filters:
    """The limits, each with its own count of what it dropped.

    The published set kept one box in 20 frames of tracks seen in 200 frames or more; its other limits are not known and
    these are ours.

    confidence: the least score. height: the least height in pixels. aspect_min, aspect_max: of height to width. inside: the
    least share of a box within the frame. overlap: the most IoU with any other sure box of the frame. min_frames: frames
    that a track is seen in. stride: frames from one kept box of a track to the next, at least.
    """

    confidence: float = 0.5
    height: float = 48
    aspect_min: float = 1.3
    aspect_max: float = 4.5
    inside: float = 0.9
    overlap: float = 0.5
    min_frames: int = 200
    stride: int = 20

    def __post_init__(self) -> None:
        for name, least in (("min_frames", 1), ("stride", 1), ("height", 0), ("aspect_min", 0)):
            if not getattr(self, name) >= least:
                raise UserError(f"{name} {getattr(self, name)} is not possible: give {least} or more")
        for name in ("confidence", "inside", "overlap"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"{name} {getattr(self, name)} is not possible: give 0 to 1")
        if not self.aspect_max > self.aspect_min:
            raise UserError(f"aspect_max {self.aspect_max} is not above aspect_min {self.aspect_min}: swap them")

    @classmethod
    def keep_all(cls, min_frames: int = 1, stride: int = 1) -> Filters:
        """No limit on single boxes."""
        return cls(0, 0, 0, np.inf, 0, 1, min_frames, stride)

    def plain(self) -> dict[str, float | str]:
        """For the description of a job."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return {name: value if np.isfinite(value) else "off" for name, value in values.items()}

    def select(self, boxes: Boxes, size: tuple[int, int]) -> tuple[np.ndarray, dict[str, int]]:
        """Choose the boxes of tracks that become crops.

        Args:
            boxes: of one video, in its pixels.
            size: (width, height) of the video.

        Returns:
            (rows of ``boxes``, sorted by frame; counts: how many boxes each limit dropped, in the order applied).
        """
        counts: dict[str, int] = {"boxes": len(boxes)}
        kept = np.ones(len(boxes), bool)

        def drop(name: str, good: Any) -> None:
            counts[name] = int((kept & ~good).sum())
            kept[:] &= good

        sides = boxes.box[:, 2:] - boxes.box[:, :2]
        clipped = np.clip(boxes.box, 0, np.tile(size, 2))
        within = clipped[:, 2:] - clipped[:, :2]
        drop("empty or outside the frame", (within >= 1).all(axis=1))
        area = np.maximum(np.prod(sides, axis=1), 1e-9)
        with np.errstate(divide="ignore", invalid="ignore"):
            aspect = sides[:, 1] / sides[:, 0]
        sure = boxes.score >= self.confidence
        drop("confidence", sure)
        drop("height", sides[:, 1] >= self.height)
        drop("shape", (aspect >= self.aspect_min) & (aspect <= self.aspect_max))
        drop("partly outside the frame", np.prod(np.maximum(within, 0), axis=1) / area >= self.inside - 1e-9)
        if self.overlap < 1:
            drop("overlap", _most_overlap(boxes, sure) <= self.overlap)
        drop("no track", boxes.track >= 0)
        seen = _frames_seen(boxes)
        drop("short track", seen >= self.min_frames)
        drop("between kept frames", self._strided(boxes, kept))
        counts["kept"] = int(kept.sum())
        return np.flatnonzero(kept), counts

    def _strided(self, boxes: Boxes, kept: np.ndarray) -> np.ndarray:
        """Of every track the first good box, then the next good one at least ``stride`` frames later, and so on."""
        chosen = np.zeros(len(boxes), bool)
        for rows in _rows_of_tracks(boxes, kept):
            frames = boxes.frame[rows]
            at = 0
            while at < len(rows):
                chosen[rows[at]] = True
                at = int(np.searchsorted(frames, frames[at] + self.stride))
        return chosen


def _rows_of_tracks(boxes: Boxes, kept: np.ndarray) -> Iterator[np.ndarray]:
    """The kept rows of every track, by frame."""
    rows = np.flatnonzero(kept & (boxes.track >= 0))
    rows = rows[np.argsort(boxes.track[rows], kind="stable")]
    _, starts = np.unique(boxes.track[rows], return_index=True)
    yield from np.split(rows, starts[1:]) if len(rows) else ()


def _frames_seen(boxes: Boxes) -> np.ndarray:
    """(n,): in how many frames the track of every box is seen."""
    _, inverse, counts = np.unique(boxes.track, return_inverse=True, return_counts=True)
    return counts[inverse]


def _most_overlap(boxes: Boxes, sure: np.ndarray) -> np.ndarray:
    """(n,): the largest IoU with another sure box of the same frame."""
    found = np.zeros(len(boxes))
    for _, rows in boxes.by_frame():
        shared = iou(boxes.box[rows], boxes.box[rows])
        np.fill_diagonal(shared, 0)
        shared[:, ~sure[rows]] = 0
        found[rows] = shared.max(1)
    return found
