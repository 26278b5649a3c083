"""Swaps: one at full accuracy, or both of many pairs at once, from the same draws (spec 2.3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from ict_deepfake.swapping import blending, colour, masks, regions
from ict_deepfake.swapping.recipe import BLENDS, COLOURS, Draws, Recipe, draw, plainest

_TRIES = 3
_PIXELS_AT_ONCE = 2**15  # a chunk's colours stay in the cache


@dataclass(frozen=True)
class Swap:
    """A swapped picture and what made it.

    Args:
        image: (h, w, 3) uint8: the inner face is the donor's, the outer face the target's.
        mask: (h, w) float32, the donor's weight at every pixel.
        facts: mask family, deformation, growth, colour correction, blend, share of the picture.
    """

    image: np.ndarray
    mask: np.ndarray
    facts: dict[str, Any]


def swap(
    target: np.ndarray,
    donor: np.ndarray,
    target_points: np.ndarray,
    donor_points: np.ndarray,
    recipe: Recipe,
    rng: np.random.Generator,
    region: str | None = None,
) -> Swap:
    """Put the donor's inner face into the target, with masks drawn and blended exactly.

    Args:
        target: (h, w, 3) uint8 RGB.
        donor: uint8 RGB; of the target's size unless the recipe aligns.
        target_points: (68, 2) or (5, 2) x, y pixels.
        donor_points: the same of the donor.
        recipe: what is drawn from.
        rng: draws everything.
        region: only a part of the face, one of ``masks.REGIONS``, in place of a mask of the drawn family.
    """
    five = len(target_points) == 5
    points = np.asarray(target_points, np.float64)
    draws, mask = draw(1, recipe, five, rng), np.zeros(target.shape[:2], np.float32)
    for attempt in range(_TRIES + 1):
        mask = _drawn(points, draws, target.shape[:2], region)
        if 0 < mask.mean() <= recipe.largest:
            break
        draws = draw(1, recipe, five, rng) if attempt < _TRIES - 1 else plainest(draws)
    if recipe.align:
        donor = _aligned(donor[None], np.asarray(donor_points)[None], points[None], target.shape[:2])[0]
    corrected = donor
    if COLOURS[draws.colour[0]] == "mean":
        corrected = colour.moved_mean(donor, target, mask)
    elif COLOURS[draws.colour[0]] == "reinhard":
        pictures = donor[None].astype(np.float32), target[None].astype(np.float32)
        corrected = colour.reinhard(*pictures, mask[None])[0].round().astype(np.uint8)
    facts = draws.facts() | {"share": round(float(mask.mean()), 4)} | ({"family": region} if region else {})
    name = BLENDS[draws.blend[0]]
    if name == "poisson":
        return Swap(blending.gradient_domain(corrected, target, mask), mask, facts)
    if name == "feather":
        mask = blending.feather(mask, recipe.feather)
    elif name == "gaussian":
        mask = blending.blurred(mask, _odd(draws.kernel[0] * max(mask.shape)))
    return Swap(blending.blend(corrected, target, mask), mask, facts)


def _drawn(points: np.ndarray, draws: Draws, size: tuple[int, int], region: str | None) -> np.ndarray:
    if region is None:
        mask = masks.build(int(draws.family[0]), points, size, draws.box[0])
    else:
        mask = masks.partial(region, points, size)
    distances = masks.face_frame(points[None])[2]
    mask = masks.deform(mask, masks.in_pixels(draws.displacement, distances)[0])
    kernel = _odd(2 * abs(draws.grow[0]) * max(size) + 1)
    return masks.dilate(mask, kernel) if draws.grow[0] > 0 else masks.erode(mask, kernel)


def _odd(kernel: float) -> int:
    return 2 * round((kernel - 1) / 2) + 1 if kernel > 1 else 1


def swap_many(
    targets: np.ndarray,
    donors: np.ndarray,
    target_points: np.ndarray,
    donor_points: np.ndarray,
    recipe: Recipe,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """``swap`` of n pictures at once, with the masks of ``regions``; from the same draws.

    Args:
        targets: (n, h, w, 3) uint8 RGB.
        donors: the same.
        target_points: (n, 68, 2) or (n, 5, 2).
        donor_points: the same.
        recipe: what is drawn from.
        rng: draws everything.

    Returns:
        images (n, h, w, 3) uint8, and the donor's weight at every pixel (n, h, w).
    """
    size = targets.shape[1:3]
    points = np.asarray(target_points, np.float64)
    draws, weights = _accepted(points, recipe, size, rng)
    if recipe.align:
        donors = _aligned(donors, np.asarray(donor_points), points, size)
    out = np.empty_like(targets)
    chunk = max(1, _PIXELS_AT_ONCE // (size[0] * size[1]))
    for start in range(0, len(targets), chunk):
        rows = slice(start, start + chunk)
        out[rows] = _pasted(targets[rows], donors[rows], weights[rows], draws[rows])
    return out, weights


def _pasted(targets: np.ndarray, donors: np.ndarray, weights: np.ndarray, draws: Draws) -> np.ndarray:
    """Colour correction and blend of some swaps."""
    base, pasted = targets.astype(np.float32), donors.astype(np.float32)
    inside = (weights > 0).astype(np.float32)
    shifts = colour.mean_shifts(pasted, base, inside) * (draws.colour == COLOURS.index("mean"))[:, None]
    n, height, width, _ = pasted.shape
    lines = pasted.reshape(n, height, width * 3)
    lines += np.tile(shifts.astype(np.float32), (1, width))[:, None]
    np.clip(lines, 0, 255, out=lines)
    rows = np.flatnonzero(draws.colour == COLOURS.index("reinhard"))
    if len(rows):
        pasted[rows] = colour.reinhard(pasted[rows], base[rows], inside[rows])
    poisson = np.flatnonzero(draws.blend == BLENDS.index("poisson"))
    cloned = [blending.gradient_domain(pasted[i].astype(np.uint8), targets[i], weights[i]) for i in poisson]
    out = blending.blend_many(pasted, base, weights)
    for i, picture in zip(poisson, cloned, strict=True):
        out[i] = picture
    return out


def _accepted(
    points: np.ndarray, recipe: Recipe, size: tuple[int, int], rng: np.random.Generator
) -> tuple[Draws, np.ndarray]:
    """Draws and weights whose masks are neither empty nor too large."""
    five = points.shape[1] == 5
    draws = draw(len(points), recipe, five, rng)
    weights = regions.weights(points, draws, recipe, size)
    pixels = size[0] * size[1]
    for attempt in range(_TRIES):
        share = (weights > 0).reshape(-1, pixels).sum(1, dtype=np.int32) / pixels
        bad = np.flatnonzero((share == 0) | (share > recipe.largest))
        if not len(bad):
            break
        again = draw(len(bad), recipe, five, rng) if attempt < _TRIES - 1 else plainest(draws[bad])
        draws = draws.replaced(bad, again)
        weights[bad] = regions.weights(points[bad], again, recipe, size)
    return draws, weights


def swap_pairs(
    a_images: np.ndarray,
    b_images: np.ndarray,
    a_points: np.ndarray,
    b_points: np.ndarray,
    recipe: Recipe,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Both swaps of n pairs: training's way, a few calls for the whole batch.

    Args:
        a_images: (n, h, w, 3) uint8 RGB of persons a.
        b_images: the same of persons b.
        a_points: (n, 68, 2) or (n, 5, 2).
        b_points: the same.
        recipe: what is drawn from; the two swaps of a pair draw masks of their own.
        rng: draws everything.

    Returns:
        I_ba (inner face b, outer face a) and I_ab (inner face a, outer face b), (n, h, w, 3) uint8.
    """
    targets, donors = np.concatenate([a_images, b_images]), np.concatenate([b_images, a_images])
    points, others = np.concatenate([a_points, b_points]), np.concatenate([b_points, a_points])
    images, _ = swap_many(targets, donors, points, others, recipe, rng)
    return images[: len(a_images)], images[len(a_images) :]


def _aligned(
    donors: np.ndarray, donor_points: np.ndarray, target_points: np.ndarray, size: tuple[int, int]
) -> np.ndarray:
    """Donors warped so that their five points fall on the targets' in the least squares sense."""
    matrices = similarities(masks.five_points(donor_points), masks.five_points(target_points))
    out = np.empty((len(donors), *size, 3), np.uint8)
    for index, matrix in enumerate(matrices):
        cv2.warpAffine(
            donors[index], matrix, size[::-1], dst=out[index], flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
    return out


def similarities(sources: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """(n, 2, 3) similarity transforms (no reflection) that bring n sets of points (n, k, 2) closest to others."""
    source_mean, target_mean = sources.mean(1, keepdims=True), targets.mean(1, keepdims=True)
    (x, y), (u, v) = (np.moveaxis(points, 2, 0) for points in (sources - source_mean, targets - target_mean))
    power = np.maximum((x * x + y * y).sum(1), 1e-12)
    cos, sin = (x * u + y * v).sum(1) / power, (x * v - y * u).sum(1) / power
    linear = np.stack([np.stack([cos, -sin], 1), np.stack([sin, cos], 1)], 1)
    moved = target_mean[:, 0] - (linear @ source_mean.transpose(0, 2, 1))[..., 0]
    return np.concatenate([linear, moved[..., None]], 2)
