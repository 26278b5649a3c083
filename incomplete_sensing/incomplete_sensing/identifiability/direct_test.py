"""Exact tests of given operators: what they say of a linear model, of the tangents of a smooth one, and of splitting.

All a noiseless learner can know is the consistent set X^ = {v : A_g v in A_g X for every g}, the intersection of the
X + N(A_g); the model is identified if and only if X^ = X. Operators are real or complex float64 arrays (m_g, n); rank
decisions are singular values in float64 against 1e-9 of the largest.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from shared_utils import UserError

RTOL = 1e-9


@dataclass(frozen=True)
class ConsistentSet:
    """The direct test of a linear model on given operators.

    ``dimension`` is dim X^, ``k`` that of the model; ``stacked_rank`` the rank of [A_1; ...; A_G] (C1 asks for n);
    ``recoverable`` says of each operator whether it is one-to-one on the model; ``smallest_kept`` and
    ``largest_dropped`` are the singular values, over the largest one, between which the rank decision fell:
    identification is as stable as the first is large.
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
        return self.dimension == self.k


def row_space(operator: np.ndarray, rtol: float = RTOL) -> np.ndarray:
    """Orthonormal rows (r, n) that span the row space of an operator (m, n)."""
    if np.abs(operator @ operator.conj().T - np.eye(len(operator))).max(initial=0.0) < 1e-14:
        return operator
    _, values, rows = np.linalg.svd(operator, full_matrices=False)
    return rows[values > rtol * values.max(initial=0.0)]


def column_space(matrix: np.ndarray, rtol: float = RTOL) -> np.ndarray:
    """Orthonormal columns (m, r) that span the columns of a matrix (m, p)."""
    return row_space(matrix.conj().T, rtol).conj().T


def real_form(operator: np.ndarray, real_signals: bool = False) -> np.ndarray:
    """A complex operator (m, n) over the reals: (2m, 2n), or (2m, n) where the signals are known to be real."""
    if not np.iscomplexobj(operator):
        return np.asarray(operator, dtype=np.float64)
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


def stacked_rank(operators: Sequence[np.ndarray], rtol: float = RTOL) -> int:
    """rank [A_1; ...; A_G], which C1 wants to be n (C4 with the orbit A T_g of one operator)."""
    values = _singular_values(operators)
    return int((values > rtol * values.max(initial=0.0)).sum())


def consistent_set(operators: Sequence[np.ndarray], basis: np.ndarray, rtol: float = RTOL) -> ConsistentSet:
    """All that measurements of a linear model can say about it, for exactly these operators.

    Works for masks, Fourier rows, anything: no operator is assumed generic. For one operator and an invariant model
    give the operators A T_g. Every operator counts through its null space only (its row space is orthonormalised), so
    scales do not matter.

    Args:
        operators: arrays (m_g, n); m_g may differ.
        basis: (n, p), columns that span the model; p = 0 is the model {0}.

    Source: the exact test for linear models: with Q_g the complement of A_g X, dim X^ = n - rank [Q_g^T A_g]_g.
    """
    basis = np.asarray(basis)
    n = basis.shape[0]
    for number, operator in enumerate(operators):
        if operator.ndim != 2 or operator.shape[1] != n:
            raise ValueError(f"operator {number} has shape {operator.shape}, the basis needs (m, {n})")
    model = column_space(basis, rtol)
    k = model.shape[1]
    rows = [row_space(operator, rtol) for operator in operators]
    conditions, recoverable = [], []
    for row in rows:
        image = column_space(row @ model, rtol) if k else np.zeros((len(row), 0))
        recoverable.append(image.shape[1] == k)
        conditions.append(row - image @ (image.conj().T @ row))
    values = _singular_values(conditions)
    # The rows are orthonormal, so what is lost in a difference is measured against 1.
    scale = max(1.0, values.max(initial=0.0))
    rank = int((values > rtol * scale).sum())
    return ConsistentSet(
        n=n,
        k=k,
        stacked_rank=stacked_rank(rows, rtol),
        dimension=n - rank,
        recoverable=tuple(recoverable),
        smallest_kept=float(values[rank - 1] / scale) if rank else math.nan,
        largest_dropped=float(values[rank] / scale) if rank < len(values) else 0.0,
    )


def local_tests(
    operators: Sequence[np.ndarray], samples: np.ndarray, k: int, points: int = 20, seed: int = 0
) -> list[ConsistentSet]:
    """The direct test on tangent spaces of a smooth model that is known by samples (N, n).

    Around each of ``points`` samples, drawn from the seed, the tangent is spanned by the k leading directions of its
    2k + 2 nearest neighbours. Where a tangent passes, X^ has no direction there that X lacks: identification to first
    order, near that signal.

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
    tests = []
    for point in samples[chosen]:
        near = samples[np.argsort(((samples - point) ** 2).sum(1), kind="stable")[1 : neighbours + 1]] - point
        tests.append(consistent_set(operators, np.linalg.svd(near, full_matrices=False)[2][:k].T))
    return tests


def different_operators(operators: Sequence[np.ndarray], seed: int = 0) -> list[int]:
    """Places of the operators that see something different: of equal row spaces the first is kept.

    Decided by projecting one random signal onto every row space, which tells two apart almost surely.
    """
    probe = np.random.default_rng(seed).standard_normal(operators[0].shape[1])
    images: list[np.ndarray] = []
    kept = []
    for place, operator in enumerate(operators):
        rows = row_space(operator)
        image = rows.conj().T @ (rows @ probe)
        if all(np.linalg.norm(image - other) > 1e-7 * np.linalg.norm(probe) for other in images):
            images.append(image)
            kept.append(place)
    return kept


def splitting_coverage(masks: np.ndarray, keep: float = 0.5, draws: int = 1000, seed: int = 0) -> float:
    """C10 for a finite set of masks (G, n): the share of random splits whose input leaves every entry learnable.

    A split keeps each observed entry of a mask drawn at random with probability ``keep`` as input a. Given a, the
    operator may be any that contains it; E[A_b^T A_b given A_a] has full rank, on the entries that a lacks, where
    these operators together cover them.
    """
    masks = np.asarray(masks, dtype=bool)
    rng = np.random.default_rng(seed)
    full = 0
    for _ in range(draws):
        given = masks[rng.integers(len(masks))] & (rng.random(masks.shape[1]) < keep)
        possible = ~(given & ~masks).any(axis=1)
        full += bool((masks[possible].any(axis=0) | given).all())
    return full / draws
