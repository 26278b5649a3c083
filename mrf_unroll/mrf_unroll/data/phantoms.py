"""Procedural heads: axial slices with T1, T2 and PD of tissue, drawn from a seed."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy.ndimage import affine_transform, gaussian_filter, map_coordinates

# (T1 ms, T2 ms, PD) at 3 T; the label is the place in this list, 0 is the background.
TISSUES = {
    "background": (0.0, 0.0, 0.0),
    "fat": (380.0, 70.0, 0.95),
    "csf": (3500.0, 800.0, 1.0),
    "cortex": (1350.0, 100.0, 0.85),
    "white_matter": (830.0, 75.0, 0.70),
    "deep_grey": (1150.0, 90.0, 0.80),
    "lesion": (1750.0, 160.0, 0.90),
}
_LABEL = {name: place for place, name in enumerate(TISSUES)}


class Head(NamedTuple):
    """One slice: ``maps`` (3, H, W) float32, T1 [s], T2 [s], PD, 0 outside; ``mask`` (H, W) bool; ``labels`` (H, W)."""

    maps: np.ndarray
    mask: np.ndarray
    labels: np.ndarray


def smooth_field(size: int, rng: np.random.Generator, scale: float) -> np.ndarray:
    """(size, size), 1 plus a smooth random deviation whose largest magnitude is ``scale``."""
    field = gaussian_filter(rng.standard_normal((size, size)), 0.2 * size, mode="reflect")
    return 1 + scale * field / np.abs(field).max()


def head_labels(size: int, rng: np.random.Generator) -> np.ndarray:
    """Labels (size, size) of a head: fat, CSF, a folded cortex, white matter, ventricles, deep grey matter, perhaps a lesion."""
    tilt, shift = rng.uniform(-0.25, 0.25), rng.uniform(-0.05, 0.05, 2)
    axis = (np.arange(size) + 0.5) / size * 2 - 1
    row, column = np.meshgrid(axis - shift[0], axis - shift[1], indexing="ij")
    y = row * np.cos(tilt) - column * np.sin(tilt)
    x = row * np.sin(tilt) + column * np.cos(tilt)
    half = rng.uniform(0.78, 0.9), rng.uniform(0.64, 0.76)
    y, x = y / half[0], x / half[1]
    radius, angle = np.hypot(y, x), np.arctan2(y, x)

    def wobble(folds: int, depth: float) -> np.ndarray:
        return depth * np.cos(folds * angle + rng.uniform(0, 2 * np.pi))

    labels = np.zeros((size, size), dtype=np.int64)
    labels[radius < 1] = _LABEL["fat"]
    labels[radius < rng.uniform(0.88, 0.92)] = _LABEL["csf"]
    labels[radius < rng.uniform(0.80, 0.84) + wobble(int(rng.integers(7, 12)), 0.015)] = _LABEL["cortex"]
    border = rng.uniform(0.60, 0.66) + wobble(5, rng.uniform(0.04, 0.08)) + wobble(int(rng.integers(8, 14)), 0.03)
    labels[radius < border] = _LABEL["white_matter"]
    for side in (-1, 1):
        # A ventricle and the deep grey matter beside it, nearly mirrored.
        jitter = rng.uniform(-0.03, 0.03, 4)
        grey = np.hypot((y - 0.02 - jitter[0]) / 0.17, (x - side * (0.27 + jitter[1])) / 0.10) < 1
        labels[grey] = _LABEL["deep_grey"]
        lean = 0.25 * side * y
        horn = (
            np.hypot((y + 0.12 - jitter[2]) / rng.uniform(0.2, 0.3), (x - side * (0.1 + jitter[3] / 2) + lean) / 0.065)
            < 1
        )
        labels[horn] = _LABEL["csf"]
    if rng.random() < 0.5:
        place, turn = rng.uniform(0.3, 0.5), rng.uniform(0, 2 * np.pi)
        size_of = rng.uniform(0.07, 0.14, 2)
        lesion = np.hypot((y - place * np.sin(turn)) / size_of[0], (x - place * np.cos(turn)) / size_of[1]) < 1
        labels[lesion & (radius < border)] = _LABEL["lesion"]
    return labels


def head_phantom(size: int, rng: np.random.Generator, jitter: float = 0.05, field: float = 0.08) -> Head:
    """A head of its own: anatomy, tissue values (+- ``jitter``, a lesion more) and smooth fields (+- ``field``) are drawn.

    T2 stays below T1, both below 5 and 1.2 s. A large ``jitter`` makes training heads cover tissue that is in no list.
    """
    labels = head_labels(size, rng)
    values = np.array(list(TISSUES.values()))
    values = values * rng.uniform(1 - jitter, 1 + jitter, values.shape)
    values[_LABEL["lesion"], 0] = rng.uniform(1500, 2000)
    values[_LABEL["lesion"], 1] = rng.uniform(120, 200)
    maps = np.moveaxis(values[labels], -1, 0)
    maps = maps * np.stack([smooth_field(size, rng, field) for _ in range(3)])
    maps[:2] = np.minimum(maps[:2] / 1000, np.array([5.0, 1.2])[:, None, None])
    maps[1] = np.minimum(maps[1], maps[0])
    mask = labels > 0
    return Head((maps * mask).astype(np.float32), mask, labels)


def deform_labels(labels: np.ndarray, rng: np.random.Generator, strength: float = 1.0) -> np.ndarray:
    """Labels (H, W) under a small random affine map and a smooth elastic one; nearest neighbours, so that labels stay labels."""
    size = np.array(labels.shape)
    turn, zoom = strength * rng.uniform(-0.15, 0.15), 1 + strength * rng.uniform(-0.08, 0.08, 2)
    matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) * zoom
    centre = (size - 1) / 2
    offset: Any = centre - matrix @ centre
    moved = affine_transform(labels, matrix, offset, order=0)
    shifts = [gaussian_filter(rng.standard_normal(labels.shape), 0.08 * size.max()) for _ in range(2)]
    grid = np.indices(labels.shape).astype(float)
    for axis, shift in enumerate(shifts):
        grid[axis] += strength * 0.02 * size[axis] * shift / np.abs(shift).max()
    return map_coordinates(moved, grid, order=0)


def vary_maps(
    maps: np.ndarray, mask: np.ndarray, rng: np.random.Generator, jitter: float = 0.1, field: float = 0.05
) -> Head:
    """Another subject out of given maps (3, H, W): deformed, T1, T2 and PD changed by up to ``jitter`` and smooth fields.

    For training on few maps; T2 stays below T1.
    """
    place = np.arange(mask.size).reshape(mask.shape)
    moved = deform_labels(np.where(mask, place + 1, 0), rng)
    inside = moved > 0
    taken = maps.reshape(3, -1)[:, np.maximum(moved, 1) - 1] * inside
    size = max(mask.shape)
    factors = np.stack([smooth_field(size, rng, field)[: mask.shape[0], : mask.shape[1]] for _ in range(3)])
    varied = taken * factors * rng.uniform(1 - jitter, 1 + jitter, 3)[:, None, None]
    varied[1] = np.minimum(varied[1], varied[0])
    return Head(varied.astype(np.float32), inside, inside.astype(np.int64))
