"""Discs of tissue over the plane of T1 and T2: what a method makes of tissue that no list holds."""

from __future__ import annotations

from itertools import product

import numpy as np

from mrf_unroll.data.phantoms import TISSUES, Head
from mrf_unroll.data.randomised import averaged

T1_S = (0.35, 0.6, 1.0, 1.6, 2.4, 3.6)
T2_S = (0.025, 0.045, 0.08, 0.15, 0.3, 0.6)
_BACKGROUNDS = ("white_matter", "cortex", "deep_grey")
_A_SLICE = 6
_FINE = 3


def disc_tissues() -> list[tuple[float, float]]:
    """T1 and T2 in s: the points of the plane with T2 <= T1 / 2, so ordered that a slice holds unlike ones."""
    pairs = [(t1, t2) for t1, t2 in product(T1_S, T2_S) if t2 <= t1 / 2]
    return [pairs[place] for place in np.random.default_rng(0).permutation(len(pairs))]


def discs(size: int) -> list[Head]:
    """Slices of ``size`` pixels with six discs each in a round of white matter, cortex or deep grey matter; PD 0.8."""
    axis = np.linspace(-1, 1, _FINE * size)
    row, column = np.meshgrid(axis, axis, indexing="ij")
    slices, tissues = [], disc_tissues()
    for number, own in enumerate(tissues[start : start + _A_SLICE] for start in range(0, len(tissues), _A_SLICE)):
        labels = (np.hypot(row, column) < 0.9).astype(np.int64)
        t1, t2, density = TISSUES[_BACKGROUNDS[number % len(_BACKGROUNDS)]]
        values = [(0.0, 0.0, 0.0), (t1 / 1000, t2 / 1000, density)]
        for place, (own_t1, own_t2) in enumerate(own):
            angle = 2 * np.pi * (place + 0.5 * number) / _A_SLICE
            disc = np.hypot(row - 0.56 * np.sin(angle), column - 0.56 * np.cos(angle)) < 0.2
            labels[disc] = len(values)
            values.append((own_t1, own_t2, 0.8))
        maps = np.moveaxis(np.array(values)[labels], -1, 0).astype(np.float32)
        slices.append(averaged(Head(maps, labels > 0, labels), _FINE))
    return slices
