"""What a detector finds in a picture, and what a detector is."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np


class Faces(NamedTuple):
    """The faces of one picture, the largest first.

    boxes: (n, 4), x0 y0 x1 y1 in pixels. points: (n, 5 | 68, 2).
    """

    boxes: np.ndarray
    points: np.ndarray


class Detector(Protocol):
    """Finds faces. ``source`` and ``licence`` go into the sidecar of what is cut by it; ``every``: so many frames lie
    between two looks, and the points between are interpolated."""

    source: str
    licence: str
    every: int

    def find(self, image: np.ndarray) -> Faces:
        """The faces of a picture, uint8 RGB (h, w, 3)."""
        ...

    def refine(self, image: np.ndarray, points: np.ndarray) -> np.ndarray:
        """Points of a frame between or at two looks, better than the interpolated ones where the detector can."""
        ...


def faces(boxes: object, points: object, count: int) -> Faces:
    """Faces of anything that numpy takes, the largest first; ``count`` points each."""
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    points = np.asarray(points, np.float64).reshape(-1, count, 2)
    order = np.argsort(-(boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]), kind="stable")
    return Faces(boxes[order], points[order])
