"""What points of a face are: 5, 68 or 468 of them, told apart by their number, and transforms that take points to points."""

from __future__ import annotations

import numpy as np

KINDS = (5, 68, 468)
"""How many points a face may have: MTCNN's five; the usual 68; a face mesh."""
# fmt: off
MESH_TO_68 = (
    162, 234, 93, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 323, 454, 389,  # jaw
    71, 63, 105, 66, 107, 336, 296, 334, 293, 301,  # brows
    168, 197, 5, 4, 75, 97, 2, 326, 305,  # nose
    33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380,  # eyes
    61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181, 78, 82, 13, 312, 308, 317, 14, 87,  # mouth
)
# fmt: on
"""Which of 468 points stands for each of the usual 68: within 2 px at nose, eyes and mouth, 5 px at jaw and brows."""


def five_of_68(points: np.ndarray) -> np.ndarray:
    """The five points (..., 5, 2) of the usual 68 (..., 68, 2): middles of the eyes, nose tip, corners of the mouth."""
    eyes = [points[..., 36:42, :].mean(axis=-2), points[..., 42:48, :].mean(axis=-2)]
    return np.stack([*eyes, points[..., 30, :], points[..., 48, :], points[..., 54, :]], axis=-2)


def five(points: np.ndarray) -> np.ndarray:
    """The five points (..., 5, 2) of 5, 68 or 468."""
    points = usual(points)
    return five_of_68(points) if points.shape[-2] == 68 else points


def usual(points: np.ndarray) -> np.ndarray:
    """468 points (..., 468, 2) as the usual 68; 5 and 68 as they are."""
    return points[..., list(MESH_TO_68), :] if points.shape[-2] == 468 else points


def similarity(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The similarity transform that takes points to points best in the least squares sense, without reflection.

    Args:
        source, target: (n, 2).

    Returns:
        (2, 3) float64: ``target ~ source @ m[:, :2].T + m[:, 2]``.
    """
    source, target = np.asarray(source, np.float64), np.asarray(target, np.float64)
    centre, to = source.mean(axis=0), target.mean(axis=0)
    x, y = (source - centre).T
    u, v = (target - to).T
    spread = max(float((x * x + y * y).sum()), 1e-12)
    a, b = (x * u + y * v).sum() / spread, (x * v - y * u).sum() / spread  # scale times cosine and sine
    linear = np.array([[a, -b], [b, a]])
    return np.column_stack([linear, to - linear @ centre])


def transform(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Points (..., n, 2) moved by a matrix (2, 3)."""
    return np.asarray(points, np.float64) @ matrix[:, :2].T + matrix[:, 2]
