"""Given operators as matrices, with what the direct tests ask of every kind of operators."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from incomplete_sensing.identifiability.direct_test import (
    ConsistentSet,
    RowSpace,
    consistent_set_of,
    different_spaces,
    spectrum_of,
)
from incomplete_sensing.identifiability.shift_orbit import ShiftOrbit
from incomplete_sensing.irreps import Action, ShiftAction


class MatrixOperators:
    """Operators (m_g, n) real or complex, in the precision in which they are stored."""

    orbit_limit = 2**26
    """Entries of an orbit that is listed."""

    def __init__(self, matrices: Sequence[np.ndarray]) -> None:
        self._set([RowSpace.of(matrix) for matrix in matrices])

    def _set(self, spaces: list[RowSpace]) -> None:
        self.spaces, self._spectrum = spaces, None

    @classmethod
    def of(cls, spaces: list[RowSpace]) -> MatrixOperators:
        """Operators whose row spaces are known already."""
        made = cls.__new__(cls)
        made._set(spaces)
        return made

    @property
    def n(self) -> int:
        return self.spaces[0].rows.shape[1]

    @property
    def num_operators(self) -> int:
        return len(self.spaces)

    @property
    def counts(self) -> list[int]:
        """Independent rows of every operator."""
        return [len(space.rows) for space in self.spaces]

    def different(self) -> list[int]:
        """Places of the operators that see something different."""
        return different_spaces(self.spaces)

    def subset(self, kept: list[int]) -> MatrixOperators:
        return MatrixOperators.of([self.spaces[g] for g in kept])

    def spectrum(self) -> tuple[int, float]:
        """rank [A_1; ...; A_G], and the smallest singular value it rests on over the largest."""
        if self._spectrum is None:
            self._spectrum = spectrum_of(self.spaces)
        return self._spectrum

    def test(self, basis: np.ndarray) -> ConsistentSet:
        """The direct test of the linear model that the columns of ``basis`` (n, p) span."""
        return consistent_set_of(self.spaces, basis, self.spectrum()[0])

    def moved(self, action: Action) -> MatrixOperators | ShiftOrbit | None:
        """The operators A_g T_h; None where they are too many to list."""
        if isinstance(action, ShiftAction):
            return ShiftOrbit(action, self.spaces)
        if action.order * sum(self.counts) * self.n > self.orbit_limit:
            return None
        turned = [
            RowSpace(action.right_product(space.rows, g), space.scales, space.uncertainty)
            for space in self.spaces
            for g in range(action.order)
        ]
        return MatrixOperators.of(turned)

    def orbit_sizes(self, action: Action) -> list[int] | None:
        """How many different operators the group makes of each; None where there are too many elements to try."""
        if action.order * sum(self.counts) * self.n > 16 * self.orbit_limit:
            return None
        probe = np.random.default_rng(0).standard_normal(self.n)
        size = np.linalg.norm(probe)
        sizes = []
        for space in self.spaces:
            own, fixed = space.rows.conj().T @ (space.rows @ probe), 0
            for g in range(action.order):
                # T_g^T P T_g v
                seen = space.rows.conj().T @ (space.rows @ action.left_product(g, probe))
                back = action.right_product(seen[None], g)[0]
                fixed += bool(np.linalg.norm(back - own) <= 10 * max(1e-8, space.uncertainty) * size)
            sizes.append(action.order // fixed)
        return sizes
