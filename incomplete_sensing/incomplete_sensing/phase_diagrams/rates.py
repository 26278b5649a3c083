"""A finished diagram: errors of all trials, the rates of success, and how far they agree with the theory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from incomplete_sensing.phase_diagrams.diagram import Diagram
from incomplete_sensing.phase_diagrams.theory import theory


@dataclass(frozen=True)
class Rates:
    """A finished diagram: ``errors`` (solvers, second axis, m, trials)."""

    diagram: Diagram
    errors: np.ndarray

    @property
    def rates(self) -> np.ndarray:
        """The share of trials that succeeded: (solvers, second axis, m)."""
        return (self.errors < self.diagram.threshold).mean(-1)

    def curves(self) -> dict[int, dict[str, float]]:
        """The theory's values of m (see ``theory``) for every value of the second axis."""
        return {row: theory(self.diagram, row) for row in self.diagram.rows}

    def rows(self) -> list[dict[str, Any]]:
        """One row a solver and cell: the rate with its 95 % Wilson interval, beside the theory's values of m."""
        made = []
        for solver, plane in zip(self.diagram.solvers, self.rates, strict=True):
            for row, line in zip(self.diagram.rows, plane, strict=True):
                G, k = self.diagram.place(row)
                for m, rate in zip(self.diagram.m, line, strict=True):
                    low, high = wilson_interval(rate, self.diagram.trials)
                    cell = {"solver": solver, "m": m, "G": G, "k": k, "rate": float(rate), "low": low, "high": high}
                    made.append(cell | theory(self.diagram, row))
        return made

    def disagreements(self, solver: str) -> list[tuple[int, int, int]]:
        """Cells (m, G, k) where the rate is not exactly 0 below the exact curve or 1 above it."""
        plane = self.rates[self.diagram.solvers.index(solver)]
        found = []
        for row, line in zip(self.diagram.rows, plane, strict=True):
            exact = theory(self.diagram, row)["exact"]
            found += [
                (m, *self.diagram.place(row))
                for m, rate in zip(self.diagram.m, line, strict=True)
                if rate != float(m >= exact)
            ]
        return found


def wilson_interval(rate: float, trials: int) -> tuple[float, float]:
    """95 % interval of a rate (Wilson score)."""
    from scipy.stats import binomtest  # a second to import, needed once the sweep is done

    interval = binomtest(round(rate * trials), trials).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)
