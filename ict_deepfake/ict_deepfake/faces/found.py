"""What a detector finds in a picture, and what a picture is."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np


class Faces(NamedTuple):
    """The faces of one picture, the largest first.

    boxes: (n, 4) float32, x0 y0 x1 y1 in pixels. scores: (n,) float32 in 0..1. points: (n, 5, 2) float32, x y in pixels:
    eye, eye, nose tip, mouth corner, mouth corner, the left one in the picture first.
    """

    boxes: np.ndarray
    scores: np.ndarray
    points: np.ndarray

    def __len__(self) -> int:
        """The number of faces, not of the three arrays."""
        return len(self.boxes)

    def take(self, which: np.ndarray | slice) -> Faces:
        """Some of the faces, by indices or a mask."""
        return Faces(self.boxes[which], self.scores[which], self.points[which])


class FaceDetector(Protocol):
    """Finds faces in pictures: MTCNN, RetinaFace, dlib, a file of landmarks."""

    def detect(self, images: list[np.ndarray]) -> list[Faces]:
        """The faces of each picture (uint8 RGB, sizes may differ)."""
        ...


def faces(boxes: object, scores: object, points: object) -> Faces:
    """Faces of anything that numpy takes, sorted by the area of their boxes, the largest first."""
    kept = Faces(
        np.asarray(boxes, np.float32).reshape(-1, 4),
        np.asarray(scores, np.float32).reshape(-1),
        np.asarray(points, np.float32).reshape(-1, 5, 2),
    )
    return kept.take(np.argsort(-area(kept.boxes), kind="stable"))


def five_of_68(points: np.ndarray) -> np.ndarray:
    """The five points (..., 5, 2) of the usual 68 (..., 68, 2): middles of the eyes, nose tip, corners of the mouth."""
    eyes = [points[..., 36:42, :].mean(axis=-2), points[..., 42:48, :].mean(axis=-2)]
    return np.stack([*eyes, points[..., 30, :], points[..., 48, :], points[..., 54, :]], axis=-2).astype(np.float32)


def no_faces() -> Faces:
    """What is found where there is none."""
    return faces([], [], [])


def check_picture(image: np.ndarray) -> np.ndarray:
    """The picture itself, if it is uint8 RGB of (h, w, 3).

    Raises:
        ValueError: it is not. Detectors take other arrays and find nothing in them, or points at wrong places.
    """
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        kind = f"{image.dtype} of {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise ValueError(f"a picture is a uint8 RGB array of (height, width, 3), got {kind}")
    return image


def area(boxes: np.ndarray) -> np.ndarray:
    """(n,) pixels of (n, 4) boxes; 0 where a box is turned inside out."""
    return np.clip(boxes[:, 2] - boxes[:, 0], 0, None) * np.clip(boxes[:, 3] - boxes[:, 1], 0, None)


def overlaps(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Intersection over union of every box with every other one: (n, 4), (m, 4) -> (n, m)."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    common = np.prod(np.clip(high - low, 0, None), axis=2)
    union = area(boxes)[:, None] + area(others)[None] - common
    return common / np.maximum(union, 1e-9)


def box_of_points(points: np.ndarray, width: float = 1.1, up: float = 1.05, down: float = 1.75) -> np.ndarray:
    """(n, 4) boxes around faces of which only the five points are known, in the proportions of MTCNN's boxes.

    Args:
        points: (n, 5, 2).
        width, up, down: from the middle of the eyes, in eye distances or eye to mouth distances, whichever is larger.
    """
    eyes, mouth = points[:, :2].mean(axis=1), points[:, 3:].mean(axis=1)
    size = np.maximum(np.linalg.norm(points[:, 1] - points[:, 0], axis=1), np.linalg.norm(mouth - eyes, axis=1))[
        :, None
    ]
    return np.concatenate([eyes - size * [width, up], eyes + size * [width, down]], axis=1).astype(np.float32)
