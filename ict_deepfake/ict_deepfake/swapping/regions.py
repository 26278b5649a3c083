"""Masks of many pictures at once, as the region between straight lines, for training.

A convex region is the intersection of half planes: ``n_k . x <= h(n_k)``, where h is the region's support function. With
lines in 24 fixed directions (15 degrees apart) every family of masks is a formula for 24 numbers, a deformed mask is the
same region at displaced coordinates, erosion and dilation add a number to h, and ``min_k (h(n_k) - n_k . x)`` is at once
the mask (where positive) and the distance to its edge, from which the soft weight of a blend follows. A batch costs one
matrix product, where drawing takes a dozen calls a picture.

Families 0, 2 and 3 differ from their convex hull by slivers, and blends are weighted by the distance to the hull anyway
(``blending.feather``): drawn with ``masks.build`` on the 68 points of 61 photographs, families 0 to 3 overlap with the
regions of this module by 0.98 on average, 0.966 at least (intersection over union).
"""

from __future__ import annotations

import numpy as np

from ict_deepfake.swapping.masks import FAMILIES, boxes, face_frame, in_pixels, interpolated, raised_brows
from ict_deepfake.swapping.recipe import BLENDS, Draws, Recipe

DIRECTIONS = 24
_ANGLES = np.arange(DIRECTIONS) * (2 * np.pi / DIRECTIONS)
_NORMALS = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], 1).round(12)
_VALUES_AT_ONCE = 2**19  # a chunk of them stays in the cache


def weights(points: np.ndarray, draws: Draws, recipe: Recipe, size: tuple[int, int]) -> np.ndarray:
    """How much of the donor each pixel takes.

    Args:
        points: (n, 68, 2) or (n, 5, 2) of the targets, pixels.
        draws: of the n swaps.
        recipe: its feather.
        size: (h, w) of the pictures.

    Returns:
        (n, h, w) float32 in 0 to 1.
    """
    side = max(size)
    middle, axes, distances = face_frame(points)
    support = _supports(points, middle, axes, distances, draws)
    support += side * draws.grow[:, None]
    extents = support[:, : DIRECTIONS // 2] + support[:, DIRECTIONS // 2 :]
    larger = np.maximum(extents[:, 0], extents[:, DIRECTIONS // 4])
    # n . A (x - m) <= h, as a product of (n A, -h - n . A m) with (x, y, 1).
    lines = np.empty((len(points), DIRECTIONS, 3), np.float32)
    lines[..., :2] = _NORMALS @ axes
    lines[..., 2] = -support - (lines[..., :2] * middle[:, None]).sum(2)
    pixels = np.ones((len(points), 3, *size), np.float32)
    pixels[:, 0], pixels[:, 1] = np.arange(size[1]), np.arange(size[0])[:, None]
    pixels[:, :2] += interpolated(in_pixels(draws.displacement, distances), size)
    depth = _depth(lines, pixels.reshape(len(points), 3, -1))
    width, offset = _edges(draws, recipe, larger, side)
    depth /= width[:, None]
    depth += offset[:, None]
    return np.clip(depth, 0, 1, out=depth).reshape(len(points), *size)


def _depth(lines: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """(n, h w) distance to the nearest line, positive inside."""
    depth = np.empty((len(lines), pixels.shape[2]), np.float32)
    chunk = max(1, _VALUES_AT_ONCE // (DIRECTIONS * pixels.shape[2]))
    for start in range(0, len(lines), chunk):
        rows = slice(start, start + chunk)
        np.matmul(lines[rows], pixels[rows]).max(1, out=depth[rows])
    return np.negative(depth, out=depth)


def _supports(
    points: np.ndarray, middle: np.ndarray, axes: np.ndarray, distances: np.ndarray, draws: Draws
) -> np.ndarray:
    """(n, DIRECTIONS) support of each mask, in pixels, in the frame of its face."""
    centre, half = boxes(distances, draws.box)
    # The support of a superellipse of exponent e is the norm of the dual exponent e / (e - 1): 1 of a rectangle, 2 of an
    # ellipse.
    dual = draws.box[:, 3] / (draws.box[:, 3] - 1)
    dual = np.where(draws.family == FAMILIES.index("rectangle"), 1, dual)
    dual = np.where(draws.family == FAMILIES.index("ellipse"), 2, dual)[:, None]
    reach = (half[:, None] * np.abs(_NORMALS)) ** dual[..., None]
    support = centre @ _NORMALS.T + reach.sum(2) ** (1 / dual)
    of_points = np.flatnonzero(draws.family < FAMILIES.index("rectangle"))
    if len(of_points):
        outline = points[of_points].astype(np.float64)
        extended = draws.family[of_points] == FAMILIES.index("extended")
        outline[extended] = raised_brows(outline[extended])
        local = (outline - middle[of_points, None]) @ axes[of_points].transpose(0, 2, 1)
        support[of_points] = (local @ _NORMALS.T).max(1)
    return support


def _edges(draws: Draws, recipe: Recipe, larger: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """The blends as ``weight = clip(depth / width + offset)``.

    Feathering is exactly that, with offset 0. Twice blurred with a Gaussian, an edge rises as its distribution function; a
    straight line of the same slope takes its place. A hard edge is a pixel wide.
    """
    kernel = draws.kernel * side
    # The deviation that OpenCV gives a kernel, times sqrt 2 for two passes; the slope of a normal edge is 1 / sqrt(2 pi).
    deviation = np.sqrt(2) * np.maximum(0.3 * ((kernel - 1) * 0.5 - 1) + 0.8, 0.4)
    width = np.where(draws.blend == BLENDS.index("gaussian"), np.sqrt(2 * np.pi) * deviation, 1.0)
    feathered = draws.blend == BLENDS.index("feather")
    width = np.where(feathered, np.maximum(recipe.feather * larger, 1e-3), width)
    return width.astype(np.float32), np.where(feathered, 0, 0.5).astype(np.float32)
