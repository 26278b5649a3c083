"""The direct test of operators that are functions, too large for matrices: by conjugate gradients on random probes.

H = sum_g A_g^T (I - W_g W_g^T) A_g, with W_g an orthonormal basis of A_g X, has the consistent set as its null space. What
solving H z = H v leaves of a random probe v is its part in that null space. If, beside the model, nothing is left, X^ = X
almost surely; a direction that is left with a Rayleigh quotient at rounding is one that X lacks. Between the two nothing is
claimed, and what the iterations have shown bounds the smallest singular value from above.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from incomplete_sensing.identifiability.direct_test import FLOOR, ConsistentSet, column_space
from incomplete_sensing.irreps import Action
from shared_utils import UserError

Pair = tuple[Callable[[np.ndarray], np.ndarray], Callable[[np.ndarray], np.ndarray]]


@dataclass(frozen=True)
class Estimated(ConsistentSet):
    """A ``ConsistentSet`` whose dimension is estimated from probes; ``undecided`` where the iterations did not settle it."""

    undecided: bool = False

    @property
    def identified(self) -> bool:
        return not self.undecided and super().identified

    @property
    def word(self) -> str:
        return "undecided" if self.undecided else super().word


class FunctionOperators:
    """Operators as pairs (A, A^T) of functions on the columns of arrays, in float64.

    Args:
        pairs: A takes (n, p) to (m, p), A^T back.
        n: entries of a signal.
        counts: rows of every operator.
        rank: of [A_1; ...; A_G], where it is known; estimated by the same iterations where not.
        seconds: after which iterations stop.
        eps: precision of the functions.
    """

    probes = 3
    iterations = 600
    limit = 2**27
    """Entries of the images of the model, a GiB."""

    def __init__(
        self,
        pairs: Sequence[Pair],
        n: int,
        counts: Sequence[int],
        rank: int | None = None,
        seconds: float = 20.0,
        eps: float = 2.2e-16,
    ) -> None:
        self.pairs, self.n, self.counts, self.seconds, self.eps = pairs, n, list(counts), seconds, eps
        self._rank = rank
        # The same start for all, so that multiples of an operator are that after division by their norms too.
        start = np.random.default_rng(1).standard_normal((n, 1))
        self.norms = [_norm(forward, adjoint, start) for forward, adjoint in pairs]

    @property
    def num_operators(self) -> int:
        return len(self.pairs)

    def different(self) -> list[int]:
        """Places of the operators that see something different, by their normal equations on a probe."""
        probe = np.random.default_rng(2).standard_normal((self.n, 1))
        images: list[np.ndarray] = []
        kept = []
        for place, ((forward, adjoint), norm) in enumerate(zip(self.pairs, self.norms, strict=True)):
            image = adjoint(forward(probe)) / norm**2
            if all(
                np.linalg.norm(image - other) > max(1e-7, 100 * self.eps) * np.linalg.norm(probe) for other in images
            ):
                images.append(image)
                kept.append(place)
        return kept

    def subset(self, kept: list[int]) -> FunctionOperators:
        counts = [self.counts[g] for g in kept]
        return FunctionOperators([self.pairs[g] for g in kept], self.n, counts, self._rank, self.seconds, self.eps)

    def moved(self, action: Action) -> FunctionOperators | None:
        """The operators A_g T_h; None where they are too many."""
        if not action.permutes or action.order > 16:
            return None
        pairs, counts = [], []
        for element in (action.elements[g] for g in range(action.order)):
            inverse = np.argsort(element)
            for (forward, adjoint), count in zip(self.pairs, self.counts, strict=True):
                pairs.append((lambda x, a=forward, e=element: a(x[e]), lambda y, b=adjoint, i=inverse: b(y)[i]))
                counts.append(count)
        return FunctionOperators(pairs, self.n, counts, None, self.seconds, self.eps)

    def orbit_sizes(self, action: Action) -> None:
        """Row spaces of functions are not compared."""
        return None

    def spectrum(self) -> tuple[int | None, float]:
        """rank [A_1; ...; A_G] (None where the iterations do not settle it), and its smallest singular value."""
        found = self._null_space(np.zeros((self.n, 0)))
        if self._rank is not None:
            return self._rank, found.smallest_kept
        return None if found.undecided else self.n - found.dimension, found.smallest_kept

    def test(self, basis: np.ndarray) -> Estimated:
        """The direct test of the linear model that the columns of ``basis`` (n, p) span."""
        return self._null_space(column_space(basis))

    def _null_space(self, model: np.ndarray) -> Estimated:
        if sum(self.counts) * model.shape[1] > self.limit:
            raise UserError(
                f"{len(self.pairs)} operators and k = {model.shape[1]} at n = {self.n} are too large for the direct test: "
                "test a smaller k or fewer operators (what some of them identify, all of them do)"
            )
        frames, recoverable = [], []
        for (forward, _), norm in zip(self.pairs, self.norms, strict=True):
            left, values, _ = np.linalg.svd(forward(model) / norm, full_matrices=False)
            frames.append(left[:, values > FLOOR])
            recoverable.append(frames[-1].shape[1] == model.shape[1])

        def outside(x: np.ndarray) -> np.ndarray:
            return x - model @ (model.T @ x)

        def apply(x: np.ndarray) -> np.ndarray:
            total = np.zeros_like(x)
            for (forward, adjoint), norm, frame in zip(self.pairs, self.norms, frames, strict=True):
                y = forward(x) / norm
                total += adjoint(y - frame @ (frame.T @ y)) / norm
            return outside(total)

        probe = outside(np.random.default_rng(0).standard_normal((self.n, self.probes)))
        largest = _largest(apply, probe[:, :1])
        left, smallest = self._left_over(apply, probe, largest)
        share = float((left**2).sum() / (probe**2).sum())
        excess, undecided, dropped = 0, False, 0.0
        if share > max(1e-12, (1e4 * self.eps) ** 2):
            lowest = max(0.0, float((left * apply(left)).sum() / (left**2).sum()) / largest)
            if lowest < FLOOR**2:
                excess, dropped = max(1, round(float((left**2).sum()) / self.probes)), math.sqrt(lowest)
            else:
                undecided, smallest = True, min(smallest, math.sqrt(lowest))
        k = model.shape[1]
        rank = self.n if self._rank is None else self._rank
        return Estimated(self.n, k, rank, k + excess, tuple(recoverable), smallest, dropped, undecided)

    def _left_over(
        self, apply: Callable[[np.ndarray], np.ndarray], probe: np.ndarray, largest: float
    ) -> tuple[np.ndarray, float]:
        """What conjugate gradients on H z = H v leave of each probe v, and the smallest Rayleigh quotient's root seen."""
        left = probe.copy()
        residual = apply(left)
        direction = residual.copy()
        energy = (residual**2).sum(0)
        goal, smallest, end = energy * self.eps**1.66, 1.0, time.monotonic() + self.seconds
        for _ in range(self.iterations):
            active = energy > goal
            if not active.any() or time.monotonic() > end:
                break
            image = apply(direction)
            curvature = (direction * image).sum(0)
            size = (direction**2).sum(0)
            step = np.where(active & (curvature > 0), energy / np.maximum(curvature, 1e-300), 0.0)
            quotients = curvature[active] / np.maximum(size[active], 1e-300) / largest
            smallest = min(smallest, math.sqrt(max(float(quotients.min(initial=1.0)), 0.0)))
            left -= step * direction
            residual -= step * image
            previous, energy = energy, (residual**2).sum(0)
            direction = residual + np.where(active, energy / np.maximum(previous, 1e-300), 0.0) * direction
        return left, smallest


def _norm(forward: Callable, adjoint: Callable, x: np.ndarray) -> float:
    return math.sqrt(_largest(lambda v: adjoint(forward(v)), x)) or 1.0


def _largest(apply: Callable[[np.ndarray], np.ndarray], x: np.ndarray, steps: int = 12) -> float:
    """The largest eigenvalue, roughly, by power iterations."""
    norm = 0.0
    for _ in range(steps):
        norm = float(np.linalg.norm(x))
        if not norm:
            return 0.0
        x = apply(x / norm)
    return float(np.linalg.norm(x)) or 1.0
