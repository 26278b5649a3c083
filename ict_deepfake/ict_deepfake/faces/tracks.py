"""Which faces of successive frames are one face: by the overlap of their boxes, until the picture cuts away."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from ict_deepfake.faces.found import Faces, overlaps

CUT = 45.0
"""Grey levels by which the thumbnails of two frames differ on average when they show two scenes."""


@dataclass
class _Track:
    number: int
    box: np.ndarray
    seen: int


class Tracker:
    """Numbers the faces of the frames of one video; every face of a frame gets a number, no two of a frame the same.

    Args:
        overlap: least intersection over union with the last box of a track. Where frames are sampled seldom, faces move
            more between them, so that a box may also follow from the distance of the centres.
        distance: greatest distance of the centres, in sides of the last box.
        patience: a track ends after so many frames (of those that are given) without its face.
    """

    def __init__(self, overlap: float = 0.2, distance: float = 0.6, patience: int = 3) -> None:
        self.overlap, self.distance, self.patience = overlap, distance, patience
        self._active: list[_Track] = []
        self._frames, self._next = 0, 0
        self._thumbnail: np.ndarray | None = None

    def update(self, faces: Faces, image: np.ndarray | None = None) -> np.ndarray:
        """The tracks of the faces of the next frame.

        Args:
            faces: found in the frame.
            image: the frame, uint8 RGB, or its ``thumbnail``; given, tracks end at a cut.

        Returns:
            (n,) int64, numbers of tracks counted from 0.
        """
        self._frames += 1
        if image is not None and self._is_cut(image):
            self._active = []
        self._active = [track for track in self._active if self._frames - track.seen <= self.patience + 1]
        numbers = np.full(len(faces.boxes), -1, np.int64)
        for known, new in self._pairs(faces.boxes):
            track = self._active[known]
            track.box, track.seen, numbers[new] = faces.boxes[new], self._frames, track.number
        for new in np.flatnonzero(numbers < 0):
            numbers[new] = self._next
            self._active.append(_Track(self._next, faces.boxes[new], self._frames))
            self._next += 1
        return numbers

    def _pairs(self, boxes: np.ndarray) -> list[tuple[int, int]]:
        from scipy.optimize import linear_sum_assignment

        if not self._active or not len(boxes):
            return []
        last = np.stack([track.box for track in self._active])
        shared = overlaps(last, boxes)
        sides = np.sqrt(np.prod(last[:, 2:] - last[:, :2], axis=1))
        new_sides = np.sqrt(np.prod(boxes[:, 2:] - boxes[:, :2], axis=1))
        away = np.linalg.norm(_centres(last)[:, None] - _centres(boxes)[None], axis=2) / sides[:, None]
        alike = np.abs(np.log(new_sides[None] / sides[:, None])) < np.log(1.6)
        possible = (shared >= self.overlap) | ((away <= self.distance) & alike)
        cost = np.where(possible, 1 - shared + 0.1 * away, 1e3)
        rows, columns = linear_sum_assignment(cost)
        return [(int(i), int(j)) for i, j in zip(rows, columns, strict=True) if possible[i, j]]

    def _is_cut(self, image: np.ndarray) -> bool:
        before, self._thumbnail = self._thumbnail, thumbnail(image).astype(np.float32)
        return before is not None and float(np.abs(before - self._thumbnail).mean()) > CUT


def thumbnail(image: np.ndarray) -> np.ndarray:
    """A picture as uint8 RGB (18, 32, 3): enough of it to notice a cut, and all that has to be kept for that."""
    # A quarter of the pixels gives the same mean over blocks, in a fraction of the time.
    step = max(1, min(image.shape[:2]) // 72)
    return cv2.resize(image[::step, ::step], (32, 18), interpolation=cv2.INTER_AREA)


def _centres(boxes: np.ndarray) -> np.ndarray:
    return (boxes[:, :2] + boxes[:, 2:]) / 2
