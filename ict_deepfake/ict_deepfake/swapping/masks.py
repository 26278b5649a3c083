"""Masks of the inner face: seven families, their deformation, erosion and dilation (spec 2.3, steps 1 and 2).

Families 0 to 3 are drawn from 68 points, 4 to 6 from the five of a detector as well. Families 0 to 3 and the morphology
are those of the blended-image library of Face X-ray. Masks are float32 (h, w) of 0 and 1.
"""

from __future__ import annotations

import cv2
import numpy as np

FAMILIES = ("three_part", "extended", "components", "hull", "rectangle", "ellipse", "superellipse")
OF_FIVE_POINTS = FAMILIES[4:]
REGIONS = {"eyes": [*range(17, 27), *range(36, 48)], "mouth": [*range(48, 68)]}
"""Points of the partial swaps: eyes with brows, and the mouth."""
_MARGIN = 0.15  # around the points of a region, in distances between the eyes

_THREE_PART = ([*range(17), *range(48, 68)], [27, 28, 29, 30, 33], [*range(17, 27), 0, 27, 16, 33])
_COMPONENTS = (
    [*range(9), 17],
    [*range(8, 17), 26],
    [17, 18, 19, 8],
    [24, 25, 26, 8],
    [19, 20, 21, 22, 23, 24, 8],
    [17, 18, 19, 20, 21, 27, 31, 32, 33, 34, 35, 8],
    [22, 23, 24, 25, 26, 27, 31, 32, 33, 34, 35, 8],
    [27, 28, 29, 30, 31, 32, 33, 34, 35],
)


def five_points(points: np.ndarray) -> np.ndarray:
    """(..., 5, 2) eye, eye, nose tip, mouth corner, mouth corner of (..., 68, 2) or (..., 5, 2) points."""
    if points.shape[-2] == 5:
        return points
    left, right = points[..., 36:42, :].mean(-2), points[..., 42:48, :].mean(-2)
    return np.stack([left, right, points[..., 30, :], points[..., 48, :], points[..., 54, :]], -2)


def raised_brows(points: np.ndarray) -> np.ndarray:
    """Points (..., 68, 2) with each brow raised by half its distance to the line of the upper eyelid.

    Integers are halved downwards, as the masks of the library are.
    """
    halved = (lambda values: values // 2) if np.issubdtype(points.dtype, np.integer) else (lambda values: values / 2)
    raised = points.copy()
    for eye, jaw, lid, brow in ((36, 0, slice(36, 40), 17), (45, 16, slice(42, 46), 22)):
        corner = points[..., eye, :]
        beside = halved(corner + halved(corner + points[..., jaw, :]))[..., None, :]
        line = np.concatenate([beside, points[..., lid, :]] if brow == 17 else [points[..., lid, :], beside], -2)
        old = points[..., brow : brow + 5, :]
        raised[..., brow : brow + 5, :] = old + halved(old - line)
    return raised


def build(family: str | int, points: np.ndarray, size: tuple[int, int], box: np.ndarray | None = None) -> np.ndarray:
    """Draw a mask.

    Args:
        family: name or index in ``FAMILIES``.
        points: (68, 2) x, y pixels, truncated to integers before drawing; (5, 2) will do for families 4 to 6.
        size: (h, w) of the mask.
        box: (4,) of families 4 to 6, see ``Draws.box``.

    Raises:
        ValueError: a family of 68 points with five.
    """
    name = FAMILIES[family] if isinstance(family, int | np.integer) else family
    mask = np.zeros(size, np.float32)
    if name in OF_FIVE_POINTS:
        box = np.array([0.30, 0.50, 0.25, 3.0]) if box is None else box
        cv2.fillPoly(mask, [_outline(name, points, box).round().astype(np.int32)], 1.0)
        return mask
    if points.shape != (68, 2):
        raise ValueError(f"the mask {name} takes 68 points, got {len(points)}: {', '.join(OF_FIVE_POINTS)} take five")
    whole = points.astype(np.int32)
    if name == "hull":
        cv2.fillConvexPoly(mask, cv2.convexHull(whole), 1.0)
        return mask
    if name == "extended":
        whole = raised_brows(whole)
    for part in _THREE_PART if name == "three_part" else _COMPONENTS:
        cv2.fillConvexPoly(mask, cv2.convexHull(whole[part]), 1.0)
    return mask


def partial(region: str, points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The mask of a partial swap: the hull of a region's points, with a margin.

    Args:
        region: one of ``REGIONS``.
        points: (68, 2) x, y pixels.
        size: (h, w) of the mask.

    Raises:
        ValueError: there are only five points.
    """
    if points.shape != (68, 2):
        raise ValueError(f"a swap of the {region} takes 68 points, got {len(points)}")
    mask = np.zeros(size, np.float32)
    cv2.fillConvexPoly(mask, cv2.convexHull(points[REGIONS[region]].astype(np.int32)), 1.0)
    margin = round(_MARGIN * float(face_frame(points[None])[2][0, 0]))
    return dilate(mask, 2 * margin + 1)


def face_frame(points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where n faces stand: the middle of their eyes (n, 2), the axes (n, 2, 2) whose rows point along the eyes and down
    the face, and the distances (n, 2) between the eyes and from the eyes to the mouth, in pixels."""
    five = five_points(points)
    across = five[:, 1] - five[:, 0]
    apart = np.linalg.norm(across, axis=1)
    along = across / np.maximum(apart, 1e-6)[:, None]
    axes = np.stack([along, np.stack([-along[:, 1], along[:, 0]], 1)], 1)
    middle = five[:, :2].mean(1)
    down = ((five[:, 3:].mean(1) - middle) * axes[:, 1]).sum(1)
    return middle, axes, np.stack([apart, down], 1)


def boxes(distances: np.ndarray, box: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The middle (n, 2) and the half sides (n, 2) of the boxes of families 4 to 6, in the frame of each face.

    Args:
        distances: (n, 2) of ``face_frame``.
        box: (n, 4) of ``Draws.box``.
    """
    apart, down = distances.T
    above, below = box[:, 1] * apart, down + box[:, 2] * apart
    return (
        np.stack([np.zeros_like(apart), (below - above) / 2], 1),
        np.stack([(0.5 + box[:, 0]) * apart, (below + above) / 2], 1),
    )


def _outline(name: str, points: np.ndarray, box: np.ndarray) -> np.ndarray:
    """(k, 2) of a rectangle, an ellipse or a superellipse, in pixels."""
    middle, axes, distances = face_frame(points[None])
    centre, half = boxes(distances, box[None])
    if name == "rectangle":
        unit = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], float)
    else:
        angles = np.linspace(0, 2 * np.pi, 96, endpoint=False)
        unit = np.stack([np.cos(angles), np.sin(angles)], 1)
        if name == "superellipse":
            unit = np.sign(unit) * np.abs(unit) ** (2 / box[3])
    return (centre[0] + half[0] * unit) @ axes[0] + middle[0]


def deform(mask: np.ndarray, displacement: np.ndarray) -> np.ndarray:
    """Move each point of a mask by a displacement that is bilinear between the points of a grid over the picture.

    Args:
        mask: (h, w).
        displacement: (2, k, k) x and y of a grid over the picture, pixels.
    """
    height, width = mask.shape
    dx, dy = interpolated(displacement, mask.shape)
    x, y = np.arange(width, dtype=np.float32) + dx, np.arange(height, dtype=np.float32)[:, None] + dy
    return (cv2.remap(mask, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT) > 0.5).astype(np.float32)


def in_pixels(displacement: np.ndarray, distances: np.ndarray) -> np.ndarray:
    """Displacements (n, 2, k, k) in pixels, of shares of the larger side of each face.

    Args:
        displacement: shares.
        distances: (n, 2) of ``face_frame``; a face is about 2.5 times as large as the larger one.
    """
    return displacement * (2.5 * distances.max(1))[:, None, None, None]


def interpolated(grid: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """(..., h, w) float32 of (..., k, k): bilinear between the points of a grid that covers the picture."""
    rows, columns = (hats(side, points) for side, points in zip(size, grid.shape[-2:], strict=True))
    return np.matmul(np.matmul(rows, grid.astype(np.float32)), columns.T)


def hats(side: int, points: int) -> np.ndarray:
    """(side, points) float32: weights of linear interpolation between points spread over a side of pixels."""
    place = np.linspace(0, points - 1, side)
    return np.maximum(0, 1 - np.abs(place[:, None] - np.arange(points))).astype(np.float32)


def erode(mask: np.ndarray, kernel: int) -> np.ndarray:
    """Erode with a square of ``kernel`` pixels, an odd number; outside the picture counts as inside the mask."""
    return cv2.erode(mask, np.ones((kernel, kernel), np.uint8))


def dilate(mask: np.ndarray, kernel: int) -> np.ndarray:
    """Dilate with a square of ``kernel`` pixels, an odd number."""
    return cv2.dilate(mask, np.ones((kernel, kernel), np.uint8))
