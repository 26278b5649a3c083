"""Slices of tissue that nobody listed: random anatomy with T1, T2 and PD from anywhere in the physics.

A network that is trained on them has no tissue to remember, only what all objects have in common: regions, borders, folds,
partial volume.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter

from mrf_unroll.data.phantoms import TISSUES, Head, deform_labels, head_labels, smooth_field

_LABEL = {name: place for place, name in enumerate(TISSUES)}
# Made at three times the resolution and averaged: partial volume.
_FINE = 3
_HEADS = 0.65
T1_S, T2_S = (0.2, 4.5), (0.02, 1.0)


def random_tissue(rng: np.random.Generator) -> tuple[float, float, float]:
    """T1 [s], T2 [s], PD: half the time log-uniform with T2 <= 0.8 T1, else a listed tissue times log-normal factors."""
    if rng.random() < 0.5:
        t1 = _log_uniform(rng, *T1_S)
        return t1, min(_log_uniform(rng, *T2_S), 0.8 * t1), rng.uniform(0.1, 1.0)
    t1, t2, density = list(TISSUES.values())[rng.integers(1, len(TISSUES))]
    t1, t2 = 1e-3 * t1 * np.exp(rng.normal(0, 0.2)), 1e-3 * t2 * np.exp(rng.normal(0, 0.35))
    t1 = float(np.clip(t1, *T1_S))
    return (
        t1,
        float(np.clip(t2, T2_S[0], min(1.2, 0.8 * t1))),
        float(np.clip(density * np.exp(rng.normal(0, 0.2)), 0.1, 1)),
    )


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def random_head(size: int, rng: np.random.Generator) -> Head:
    """A deformed head with sulci of fluid, folds of grey in white matter, and regions divided at random."""
    labels = deform_labels(head_labels(size, rng), rng, 1.5)
    inside = labels > 0
    brain = (labels == _LABEL["cortex"]) | (labels == _LABEL["white_matter"])
    sulci = _bumps(size, rng, 0.025) + 0.5 * _bumps(size, rng, 0.06)
    folds = _bumps(size, rng, 0.03)
    white = labels == _LABEL["white_matter"]
    labels[white & (np.abs(folds) < rng.uniform(0.0, 0.35))] = _LABEL["cortex"]
    labels[brain & (np.abs(sulci) < rng.uniform(0.0, 0.12)) & (_bumps(size, rng, 0.15) > 0)] = _LABEL["csf"]
    fluid = labels == _LABEL["csf"]
    parts = int(rng.integers(1, 4))
    labels = labels * parts + _divided(size, rng, parts)
    return _filled(np.where(inside, labels, 0), rng, fluid & inside)


def random_regions(size: int, rng: np.random.Generator) -> Head:
    """An outline with 3 to 12 regions of any tissue in it, and a few discs."""
    axis = np.linspace(-1, 1, size)
    row, column = np.meshgrid(axis, axis, indexing="ij")
    outline = np.hypot(row / rng.uniform(0.6, 0.95), column / rng.uniform(0.6, 0.95)) + 0.15 * _bumps(size, rng, 0.15)
    labels = 1 + _divided(size, rng, int(rng.integers(3, 13)))
    for _ in range(int(rng.integers(0, 6))):
        place, radius = rng.uniform(-0.6, 0.6, 2), rng.uniform(0.04, 0.2)
        disc = np.hypot((row - place[0]) / radius, (column - place[1]) / (radius * rng.uniform(0.6, 1.6))) < 1
        labels[disc] = labels.max() + 1
    return _filled(np.where(outline < 1, labels, 0), rng)


def random_slice(size: int, rng: np.random.Generator) -> Head:
    """A head (65 %) or random regions, with partial volume: ``maps`` (3, size, size) float32, T1 [s], T2 [s], PD."""
    fine = (random_head if rng.random() < _HEADS else random_regions)(_FINE * size, rng)
    return averaged(fine, _FINE)


def averaged(fine: Head, factor: int) -> Head:
    """Every voxel the mean of the tissue in ``factor`` x ``factor`` finer ones; inside where half of it is tissue."""

    def blocks(values: np.ndarray) -> np.ndarray:
        height, width = (side // factor for side in values.shape[-2:])
        return values.reshape(*values.shape[:-2], height, factor, width, factor).mean(axis=(-3, -1))

    share = blocks(fine.mask.astype(np.float64))
    mask = share >= 0.5
    maps = np.where(mask, blocks(fine.maps.astype(np.float64) * fine.mask) / np.maximum(share, 0.5), 0)
    return Head(maps.astype(np.float32), mask, fine.labels[factor // 2 :: factor, factor // 2 :: factor] * mask)


def _filled(labels: np.ndarray, rng: np.random.Generator, fluid: np.ndarray | None = None) -> Head:
    """A random tissue for every label above 0, smooth fields and texture over it; ``fluid`` voxels are fluid."""
    size = len(labels)
    values = np.zeros((labels.max() + 1, 3))
    for label in np.unique(labels[labels > 0]):
        values[label] = random_tissue(rng)
    maps = np.moveaxis(values[labels], -1, 0).copy()
    if fluid is not None:
        wet = np.array([rng.uniform(2.5, T1_S[1]), rng.uniform(0.25, 1.2), rng.uniform(0.7, 1.0)])
        maps[:, fluid] = wet[:, None]
    depth = rng.uniform(0, 0.1)
    texture = [1 + rng.uniform(0, 0.06) * _bumps(size, rng, 0.02) for _ in range(3)]
    maps *= np.stack([smooth_field(size, rng, depth) * own for own in texture])
    maps[0] = np.clip(maps[0], 0, 5.0)
    maps[1] = np.minimum(np.clip(maps[1], 0, 1.2), 0.9 * maps[0])
    mask = labels > 0
    return Head((maps * mask).astype(np.float32), mask, labels)


def _bumps(size: int, rng: np.random.Generator, scale: float) -> np.ndarray:
    """A smooth random field (size, size) of deviation 1; ``scale``: its grain over the size."""
    field = gaussian_filter(rng.standard_normal((size, size)), scale * size, mode="wrap")
    return field / field.std()


def _divided(size: int, rng: np.random.Generator, parts: int) -> np.ndarray:
    """(size, size) in 0..parts-1: regions about random centres, with curved borders."""
    centres = rng.uniform(0, size, (parts, 2))
    grid = np.indices((size, size)) + size * 0.06 * np.stack([_bumps(size, rng, 0.08), _bumps(size, rng, 0.08)])
    distance = np.hypot(grid[0] - centres[:, 0, None, None], grid[1] - centres[:, 1, None, None])
    return distance.argmin(axis=0)
