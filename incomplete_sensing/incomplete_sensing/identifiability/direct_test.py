"""Exact tests of given operators: what they say of a linear model, of the tangents of a smooth one, and of splitting.

All a noiseless learner can know is the consistent set X^ = {v : A_g v in A_g X for every g}, the intersection of the
X + N(A_g); the model is identified if and only if X^ = X. Operators are real or complex arrays (m_g, n), computed with in
float64. Ranks follow the precision in which an operator is stored: a float32 file says nothing below 1e-7 of its largest
singular value. Identification that rests on a singular value below ``FLOOR``, of the operators as they are given, is one
that no measurement will show: it counts as none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from shared_utils import UserError

RTOL = 1e-9
"""Singular values below this share of the largest are zero, where the stored precision does not ask for more."""
FLOOR = 1e-6
"""Identification by a singular value below this share of the largest is numerically none."""


@dataclass(frozen=True)
class ConsistentSet:
    """The direct test of a linear model on given operators.

    ``dimension`` is dim X^, ``k`` that of the model; ``stacked_rank`` the rank of [A_1; ...; A_G] (C1 asks for n);
    ``recoverable`` says of each operator whether it is one-to-one on the model. ``smallest_kept`` is the smallest
    singular value that identification rests on, over the largest, of the operators as given (each over its own norm, so
    that units do not matter): identification is as stable as it is large. ``largest_dropped`` is the largest of what
    counts as zero.
    """

    n: int
    k: int
    stacked_rank: int
    dimension: int
    recoverable: tuple[bool, ...]
    smallest_kept: float
    largest_dropped: float

    @property
    def identified(self) -> bool:
        return self.dimension == self.k and not self.numerically_not

    @property
    def numerically_not(self) -> bool:
        """X^ = X, but by a singular value so small that no measurement will show it."""
        return self.dimension == self.k and self.smallest_kept < FLOOR

    @property
    def word(self) -> str:
        return (
            "identified"
            if self.identified
            else "numerically not identified"
            if self.numerically_not
            else "not identified"
        )


@dataclass(frozen=True)
class RowSpace:
    """Orthonormal ``rows`` (r, n) of an operator's row space, and the operator's singular values ``scales`` (r,) there.

    The scales are over the largest; ``uncertainty`` is how far the stored precision leaves the rows unknown.
    """

    rows: np.ndarray
    scales: np.ndarray
    uncertainty: float

    @classmethod
    def of(cls, operator: np.ndarray, rtol: float | None = None) -> RowSpace:
        eps = float(np.finfo(operator.dtype if operator.dtype.kind in "fc" else np.float64).eps)
        rtol = max(RTOL, eps * max(operator.shape)) if rtol is None else rtol
        whole = np.asarray(operator, dtype=np.complex128 if np.iscomplexobj(operator) else np.float64)
        if np.abs(whole @ whole.conj().T - np.eye(len(whole))).max(initial=0.0) < 1e-14:
            return cls(whole, np.ones(len(whole)), 0.0)
        _, values, rows = np.linalg.svd(whole, full_matrices=False)
        kept = values > rtol * values.max(initial=0.0)
        scales = values[kept] / values.max(initial=1e-300)
        return cls(rows[kept], scales, min(1e-3, eps * math.sqrt(operator.shape[1]) / scales.min(initial=1.0)))


def row_space(operator: np.ndarray, rtol: float | None = None) -> np.ndarray:
    """Orthonormal rows (r, n) that span the row space of an operator (m, n); ``rtol`` by its precision where not given."""
    return RowSpace.of(operator, rtol).rows


def column_space(matrix: np.ndarray, rtol: float | None = None) -> np.ndarray:
    """Orthonormal columns (m, r) that span the columns of a matrix (m, p)."""
    if len(matrix) > 4 * matrix.shape[1] > 0:
        # The singular vectors of a tall matrix are those of its triangle.
        frame, triangle = np.linalg.qr(matrix)
        return frame @ row_space(triangle.conj().T, rtol).conj().T
    return row_space(matrix.conj().T, rtol).conj().T


def real_form(operator: np.ndarray, real_signals: bool = False) -> np.ndarray:
    """A complex operator (m, n) over the reals: (2m, 2n), or (2m, n) where the signals are known to be real."""
    if not np.iscomplexobj(operator):
        return operator
    real, imaginary = np.real(operator), np.imag(operator)
    left = np.concatenate([real, imaginary])
    return left if real_signals else np.concatenate([left, np.concatenate([-imaginary, real])], axis=1)


def _singular_values(blocks: Sequence[np.ndarray]) -> np.ndarray:
    """Singular values of stacked blocks (m_g, n); tall stacks are folded by QR on the way, in memory O(n^2)."""
    stack: list[np.ndarray] = []
    height = 0
    for block in blocks:
        stack.append(block)
        height += len(block)
        if height > 4 * block.shape[1]:
            stack = [np.asarray(np.linalg.qr(np.concatenate(stack), mode="r"))]
            height = len(stack[0])
    return np.linalg.svd(np.concatenate(stack), compute_uv=False)


def _tolerance(spaces: Sequence[RowSpace], rtol: float | None) -> float:
    return max([RTOL, *(space.uncertainty for space in spaces)]) if rtol is None else rtol


def stacked_spectrum(operators: Sequence[np.ndarray], rtol: float | None = None) -> tuple[int, float]:
    """rank [A_1; ...; A_G], and the smallest singular value it rests on, of the operators as given, over the largest."""
    return spectrum_of([RowSpace.of(operator, rtol) for operator in operators], rtol)


def spectrum_of(spaces: Sequence[RowSpace], rtol: float | None = None) -> tuple[int, float]:
    """``stacked_spectrum`` of operators whose row spaces are known already."""
    values = _singular_values([space.rows for space in spaces])
    rank = int((values > _tolerance(spaces, rtol) * values.max(initial=0.0)).sum())
    if any((space.scales != 1).any() for space in spaces):
        values = _singular_values([space.scales[:, None] * space.rows for space in spaces])
    return rank, float(values[rank - 1] / values[0]) if rank else math.nan


def stacked_rank(operators: Sequence[np.ndarray], rtol: float | None = None) -> int:
    """rank [A_1; ...; A_G], which C1 wants to be n (C4 with the orbit A T_g of one operator)."""
    return stacked_spectrum(operators, rtol)[0]


def unexplained(space: RowSpace, model: np.ndarray, rtol: float, given: bool = False) -> tuple[np.ndarray, bool]:
    """Q_g^T A_g (r, n), what an operator measures that its image of the model (n, k) does not explain, and whether that
    image has all k dimensions. ``given``: of the operator as given, else of its orthonormal rows."""
    rows = space.scales[:, None] * space.rows if given else space.rows
    k = model.shape[1]
    image = column_space(rows @ model, rtol) if k else np.zeros((len(rows), 0))
    return rows - image @ (image.conj().T @ rows), image.shape[1] == k


def consistent_set(operators: Sequence[np.ndarray], basis: np.ndarray, rtol: float | None = None) -> ConsistentSet:
    """All that measurements of a linear model can say about it, for exactly these operators.

    Works for masks, Fourier rows, anything: no operator is assumed generic. For one operator and an invariant model
    give the operators A T_g. For dim X^ every operator counts through its null space only (its row space is
    orthonormalised); how stable that is, ``smallest_kept`` says of the operators as given.

    Args:
        operators: arrays (m_g, n); m_g may differ.
        basis: (n, p), columns that span the model; p = 0 is the model {0}.
        rtol: what counts as zero; by the operators' precision where not given.

    Source: the exact test for linear models: with Q_g the complement of A_g X, dim X^ = n - rank [Q_g^T A_g]_g.
    """
    basis = np.asarray(basis)
    n = basis.shape[0]
    for number, operator in enumerate(operators):
        if operator.ndim != 2 or operator.shape[1] != n:
            raise ValueError(f"operator {number} has shape {operator.shape}, the basis needs (m, {n})")
    spaces = [RowSpace.of(operator, rtol) for operator in operators]
    return consistent_set_of(spaces, basis, spectrum_of(spaces, rtol)[0], rtol)


def consistent_set_of(
    spaces: Sequence[RowSpace], basis: np.ndarray, stacked: int, rtol: float | None = None
) -> ConsistentSet:
    """``consistent_set`` of operators whose row spaces, and the rank of their stack, are known already."""
    n, model, tolerance = len(basis), column_space(basis, rtol), _tolerance(spaces, rtol)
    k = model.shape[1]
    conditions, recoverable = zip(*(unexplained(space, model, tolerance) for space in spaces), strict=True)
    values = _singular_values(conditions)
    # The rows are orthonormal, so what is lost in a difference is measured against 1.
    scale = max(1.0, values.max(initial=0.0))
    rank = int((values > tolerance * scale).sum())
    dropped = float(values[rank] / scale) if rank < len(values) else 0.0
    if any((space.scales != 1).any() for space in spaces):
        values = _singular_values([unexplained(space, model, tolerance, given=True)[0] for space in spaces])
        scale = values.max(initial=1e-300)
    return ConsistentSet(
        n=n,
        k=k,
        stacked_rank=stacked,
        dimension=n - rank,
        recoverable=recoverable,
        smallest_kept=float(values[rank - 1] / scale) if rank else math.nan,
        largest_dropped=dropped,
    )


def tangents(samples: np.ndarray, k: int, points: int = 20, seed: int = 0) -> list[np.ndarray]:
    """Bases (n, k) of the tangent spaces of a smooth model that is known by samples (N, n).

    Around each of ``points`` samples, drawn from the seed, by the k leading directions of its 2k + 2 nearest neighbours.

    Raises:
        UserError: there are too few samples.
    """
    samples = np.asarray(samples, dtype=np.float64)
    neighbours = 2 * k + 2
    if len(samples) <= neighbours:
        raise UserError(
            f"{len(samples)} samples are too few for tangents of dimension {k}: give more than {neighbours}"
        )
    chosen = np.random.default_rng(seed).permutation(len(samples))[:points]
    squares, found = (samples**2).sum(1), []
    for place in chosen:
        # One sample is compared with all by products, then the candidates by differences, in memory O(N + k n).
        rough = squares - 2 * samples @ samples[place]
        rough[place] = -np.inf
        candidates = np.argsort(rough, kind="stable")[: 2 * neighbours]
        exact = ((samples[candidates] - samples[place]) ** 2).sum(1)
        near = samples[candidates[np.argsort(exact, kind="stable")[1 : neighbours + 1]]] - samples[place]
        found.append(np.linalg.svd(near, full_matrices=False)[2][:k].T)
    return found


def local_tests(
    operators: Sequence[np.ndarray], samples: np.ndarray, k: int, points: int = 20, seed: int = 0
) -> list[ConsistentSet]:
    """The direct test on ``tangents`` of a smooth model that is known by samples (N, n).

    Where a tangent passes, X^ has no direction there that X lacks: identification to first order, near that signal.

    Raises:
        UserError: there are too few samples.
    """
    bases = tangents(samples, k, points, seed)
    spaces = [RowSpace.of(operator) for operator in operators]
    rank, _ = spectrum_of(spaces)
    return [consistent_set_of(spaces, basis, rank) for basis in bases]


def different_spaces(spaces: Sequence[RowSpace], seed: int = 0) -> list[int]:
    """``different_operators`` of operators whose row spaces are known already."""
    tolerance = 10 * max([1e-8, *(space.uncertainty for space in spaces)])
    probe = np.random.default_rng(seed).standard_normal(spaces[0].rows.shape[1])
    images: list[np.ndarray] = []
    kept = []
    for place, space in enumerate(spaces):
        image = space.rows.conj().T @ (space.rows @ probe)
        if all(np.linalg.norm(image - other) > tolerance * np.linalg.norm(probe) for other in images):
            images.append(image)
            kept.append(place)
    return kept


def different_operators(operators: Sequence[np.ndarray], seed: int = 0) -> list[int]:
    """Places of the operators that see something different: of equal row spaces the first is kept.

    Decided by projecting one random signal onto every row space, which tells two apart almost surely.
    """
    return different_spaces([RowSpace.of(operator) for operator in operators], seed)


def splitting_coverage(masks: np.ndarray, keep: float = 0.5, draws: int = 1000, seed: int = 0) -> float:
    """C10 for a finite set of masks (G, n): the share of random splits whose input leaves every entry learnable.

    A split keeps each observed entry of a mask drawn at random with probability ``keep`` as input a. Given a, the
    operator may be any that contains it; E[A_b^T A_b given A_a] has full rank, on the entries that a lacks, where
    these operators together cover them.
    """
    masks = np.asarray(masks, dtype=bool)
    rng = np.random.default_rng(seed)
    if not masks.any(axis=0).all():
        return 0.0
    full = 0
    for _ in range(draws):
        given = masks[rng.integers(len(masks))] & (rng.random(masks.shape[1]) < keep)
        # The mask that was drawn is one of them, so what is given is covered too.
        possible = ~(given & ~masks).any(axis=1)
        full += bool(masks[possible].any(axis=0).all())
    return full / draws
