"""Masks of many pictures at once, as the region between straight lines, for training.

A convex region is the intersection of half planes: ``n_k . x <= h(n_k)``, where h is the region's support function. With
lines in 16 fixed directions every family of masks is a formula for 16 numbers, a deformed mask is the same region at
displaced coordinates, erosion and dilation add a number to h, and ``min_k (h(n_k) - n_k . x)`` is at once the mask (where
positive) and the distance to its edge, from which the soft weight of a blend follows. Displaced coordinates are bilinear
between the points of a grid, so that a line is the same 16 numbers at every pixel: a batch of masks is one matrix product
and one maximum, where drawing takes a dozen calls a picture.

Families 0, 2 and 3 differ from their convex hull by slivers, and blends are weighted by the distance to the hull anyway
(``blending.feather``). Drawn with ``masks.build`` on the 68 points of 61 photographs, families 0 to 3 overlap with the
regions of this module by 0.97 on average, 0.95 at least (intersection over union).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from ict_deepfake.swapping.masks import FAMILIES, boxes, face_frame, hats, in_pixels, raised_brows
from ict_deepfake.swapping.recipe import BLENDS, GRID, Draws, Recipe

DIRECTIONS = 16
_ANGLES = np.arange(DIRECTIONS) * (2 * np.pi / DIRECTIONS)
_NORMALS = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], 1).round(12)
_VALUES_AT_ONCE = 2**19  # a chunk of them stays in the cache
_OUTLINE = 27  # points of the jaw and the brows, which hold all others between them


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
    signed, offset = _lines(points, draws, recipe, size)
    out = np.empty((len(points), *size), np.float32)
    chunk = max(1, _VALUES_AT_ONCE // (DIRECTIONS * size[0] * size[1]))
    for start in range(0, len(points), chunk):
        rows = slice(start, start + chunk)
        out[rows] = _weights_of(signed[rows], offset[rows], size)
    return out


def _lines(points: np.ndarray, draws: Draws, recipe: Recipe, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """The masks as lines, in units of the blends' width.

    Returns:
        (n, DIRECTIONS, GRID * GRID) float32: signed distance to each line at the points of a grid over the picture, negative
        inside; and (n,) float32, the weight on the line.
    """
    side = max(size)
    middle, axes, distances = face_frame(points)
    support = _supports(points, middle, axes, distances, draws)
    support += side * draws.grow[:, None]
    extents = support[:, : DIRECTIONS // 2] + support[:, DIRECTIONS // 2 :]
    width, offset = _edges(draws, recipe, np.maximum(extents[:, 0], extents[:, DIRECTIONS // 4]), side)
    places = _grid(size) + in_pixels(draws.displacement, distances) - middle[:, :, None, None]
    signed = (_NORMALS @ axes) @ places.reshape(len(points), 2, -1) - support[..., None]
    return (signed / width[:, None, None]).astype(np.float32), offset.astype(np.float32)


def _weights_of(signed: np.ndarray, offset: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The donor's weight at every pixel, (n, h, w) float32, from ``_lines``."""
    n = len(signed)
    depth = np.matmul(signed.reshape(-1, GRID * GRID), _bilinear(size)).reshape(n, DIRECTIONS, -1).max(1)
    np.subtract(offset[:, None], depth, out=depth)
    return np.clip(depth, 0, 1, out=depth).reshape(n, *size)


@lru_cache(maxsize=8)
def _grid(size: tuple[int, int]) -> np.ndarray:
    """(2, GRID, GRID): x, y of a grid's points over a picture, pixels."""
    return np.stack(np.meshgrid(np.linspace(0, size[1] - 1, GRID), np.linspace(0, size[0] - 1, GRID)))


@lru_cache(maxsize=8)
def _bilinear(size: tuple[int, int]) -> np.ndarray:
    """(GRID * GRID, h w): the share of each grid point in each pixel."""
    shares = hats(size[0], GRID)[:, None, :, None] * hats(size[1], GRID)[None, :, None, :]
    return np.ascontiguousarray(shares.reshape(size[0] * size[1], -1).T)


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
        outline = points[of_points]
        extended = draws.family[of_points] == FAMILIES.index("extended")
        outline[extended] = raised_brows(outline[extended])
        local = outline[:, :_OUTLINE] - middle[of_points, None]
        support[of_points] = np.matmul(local, (_NORMALS @ axes[of_points]).transpose(0, 2, 1)).max(1)
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
    return width, np.where(feathered, 0, 0.5)
