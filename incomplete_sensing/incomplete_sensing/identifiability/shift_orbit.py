"""Operators and all circular shifts of them, frequency by frequency: no orbit is ever listed.

An average over shifts is block diagonal in the Fourier basis: pixels of one residue modulo the step, in one channel, are a
channel of their own on the grid of shifts, and a frequency's block is as large as there are such channels. So the rank of
the orbit, and the consistent set of a model that is invariant to shifts, are sums over frequencies of small ranks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from incomplete_sensing.identifiability.direct_test import (
    FLOOR,
    RTOL,
    ConsistentSet,
    RowSpace,
    column_space,
    unexplained,
)
from incomplete_sensing.irreps import ShiftAction


@dataclass(frozen=True, eq=False)
class ShiftOrbit:
    """Row spaces ``spaces``, or ``masks`` (G, n), and every shift of them.

    Dense row spaces give singular values; masks, of which there may be any number of rows, their squares.
    """

    action: ShiftAction
    spaces: Sequence[RowSpace] = ()
    masks: np.ndarray | None = None

    @property
    def n(self) -> int:
        return self.action.n

    def _transformed(self, rows: np.ndarray) -> np.ndarray:
        """(r, n) -> Fourier coefficients (frequencies, r, channels), unitary."""
        step, sides = self.action.step, self.action.sides
        shape = [len(rows), -1]
        for side in sides:
            shape += [side // step, step]
        grid = rows.reshape(shape)
        axes = tuple(range(2, 2 + 2 * len(sides), 2))
        spectrum = np.fft.fftn(grid, axes=axes, norm="ortho")
        others = [axis for axis in range(1, grid.ndim) if axis not in axes]
        return spectrum.transpose(*axes, 0, *others).reshape(self.action.order, len(rows), -1)

    def _blocks(self, rows: Sequence[np.ndarray]) -> np.ndarray:
        """Singular values of every frequency's block, (frequencies, channels), largest first."""
        return np.linalg.svd(self._transformed(np.concatenate(rows)), compute_uv=False)

    def spectrum(self) -> tuple[int, float]:
        """rank [A_g T_h]_{g, h}, and the smallest singular value it rests on, of the operators as given."""
        if self.masks is not None:
            covered = self._mask_means()
            seen = covered[covered > 0]
            return len(seen) * self.action.order, math.sqrt(seen.min() / seen.max())
        values = self._blocks([space.rows for space in self.spaces])
        rank = (values > self._tolerance * values.max()).sum(1)
        given = self._blocks([space.scales[:, None] * space.rows for space in self.spaces])
        kept = [given[f, count - 1] for f, count in enumerate(rank) if count]
        return int(rank.sum()), float(min(kept) / given.max())

    @property
    def _tolerance(self) -> float:
        return max([RTOL, *(space.uncertainty for space in self.spaces)])

    def _mask_means(self) -> np.ndarray:
        """How often an entry of each channel is seen over the orbit: (channels,), over |G|."""
        assert self.masks is not None
        spectrum = self._transformed(self.masks.astype(np.float64))
        return np.real(spectrum[0]).sum(0) / math.sqrt(self.action.order)

    def test(self, basis: np.ndarray) -> ConsistentSet:
        """The direct test of an invariant model that the columns of ``basis`` (n, p) span."""
        model = column_space(basis)
        rank, _ = self.spectrum()
        return self._test_masks(model, rank) if self.masks is not None else self._test_rows(model, rank)

    def _test_rows(self, model: np.ndarray, stacked: int) -> ConsistentSet:
        tolerance = self._tolerance
        left = [unexplained(space, model, tolerance) for space in self.spaces]
        values = self._blocks([rows for rows, _ in left])
        scale = max(1.0, values.max(initial=0.0))
        kept = values > tolerance * scale
        given = self._blocks([unexplained(space, model, tolerance, given=True)[0] for space in self.spaces])
        smallest = min(
            (row[count - 1] for row, count in zip(given, kept.sum(1), strict=True) if count), default=math.nan
        )
        return ConsistentSet(
            self.n,
            model.shape[1],
            stacked,
            self.n - int(kept.sum()),
            tuple(full for _, full in left),
            float(smallest / given.max(initial=1e-300)),
            float(values[~kept].max(initial=0.0) / scale),
        )

    def _test_masks(self, model: np.ndarray, stacked: int) -> ConsistentSet:
        assert self.masks is not None
        means, k = self._mask_means(), model.shape[1]
        blocks = np.zeros((self.action.order, len(means), len(means)), complex)
        blocks[:, range(len(means)), range(len(means))] = means
        recoverable = []
        for mask in self.masks:
            image = column_space(model * mask[:, None], FLOOR) if k else model
            recoverable.append(image.shape[1] == k)
            if image.shape[1]:
                spectrum = self._transformed(image.T)
                blocks -= spectrum.swapaxes(1, 2) @ spectrum.conj()
        values = np.linalg.eigvalsh(blocks) / means.max()
        kept = values > FLOOR**2
        return ConsistentSet(
            self.n,
            k,
            stacked,
            self.n - int(kept.sum()),
            tuple(recoverable),
            math.sqrt(float(values[kept].min(initial=np.inf)) / values.max()) if kept.any() else math.nan,
            math.sqrt(max(0.0, float(values[~kept].max(initial=0.0)))),
        )
