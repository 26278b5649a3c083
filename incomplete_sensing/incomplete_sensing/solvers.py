"""Recover an unknown linear model from incomplete samples: closed form, alternating least squares, nuclear norm.

Everything is batched over independent trials T: ``operators`` (T, G, m, n), ``samples`` (T, G, m, N), the measurements
Y_g = A_g X_g of N signals by each operator, float64. A trial's result does not depend on the others in its batch (to
rounding: MKL's last bits depend on where a matrix lies in memory, unless ``MKL_CBWR=AUTO`` is set before it starts).
An invariant model under one operator is the same problem with the operators A T_g and the same samples for all g.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

RTOL = 1e-9
# Squared singular values, over the largest, that a Gram matrix in float64 tells from zero (below: surely rounding) and
# resolves well enough for a projector (above). What lies between is decided by singular values instead.
_NULL, _RESOLVED = 1e-13, 1e-8
_CHECK_EVERY = 5


@dataclass(frozen=True)
class ConsistentSets:
    """Consistent sets of a batch, for each number of operators: projectors (T, P, n, n) and dimensions (T, P)."""

    projectors: Tensor
    dimensions: Tensor


def closed_form(
    operators: Tensor, samples: Tensor, dimension: int, counts: Sequence[int] | None = None
) -> ConsistentSets:
    """The consistent set of the samples: the null space of the stacked (I - P_{span Y_g}) A_g.

    It is the model itself where the model is identified and every operator saw at least ``dimension`` generic samples,
    and larger where it is not: the exact threshold is reached.

    Args:
        operators: (T, G, m, n).
        samples: (T, G, m, N), without noise.
        dimension: k of the model, which bounds the rank of a Y_g.
        counts: solve with the first c operators for each of these c, ascending; all operators where not given. What
            an operator contributes is computed once.

    Normal matrices are used where they decide the rank beyond doubt: their null space cannot be smaller than k, nor
    than n minus the number of equations. Elsewhere the singular values of the stack decide, at 1e-9 of the largest.
    """
    trials, families, m, n = operators.shape
    counts = [families] if counts is None else list(counts)
    outside, ranks = _complements(samples, dimension)
    # Rows of W that lie inside the span are zero: (T, G, m, n).
    equations = outside @ operators
    # With fewer samples than dimensions the span is not the model's image, and the model need not be consistent.
    seen = (ranks >= min(dimension, m)).all(1)
    gram = operators.new_zeros(trials, n, n)
    projectors, dimensions = [], []
    for start, stop in pairwise([0, *counts]):
        rows = equations[:, start:stop].reshape(trials, -1, n)
        gram = gram + rows.mT @ rows
        values, vectors = torch.linalg.eigh(gram)
        largest = values[:, -1:].clamp_min(torch.finfo(values.dtype).tiny)
        null = values <= _NULL * largest
        found = null.sum(1)
        least = (n - (m - ranks[:, :stop]).clamp_min(0).sum(1)).clamp_min(0)
        least = torch.where(seen, least.clamp_min(dimension), least)
        resolved = null | (values >= _RESOLVED * largest)
        doubtful = torch.nonzero((found != least) | ~resolved.all(1)).flatten()
        if len(doubtful):
            stack = equations[doubtful, :stop].reshape(len(doubtful), -1, n)
            null[doubtful], vectors[doubtful] = _null_space(stack)
        kept = vectors * null[:, None]
        projectors.append(kept @ kept.mT)
        dimensions.append(null.sum(1))
    return ConsistentSets(torch.stack(projectors, 1), torch.stack(dimensions, 1))


def _complements(samples: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Q_g^T (T, G, m, m), whose rows span the complement of Y_g and are zero beyond, and rank Y_g (T, G).

    The first k samples span what all do, unless they are badly conditioned or the rank is not k: then singular values
    decide.
    """
    trials, families, m, count = samples.shape
    rank = min(k, m, count)
    frame, triangle = torch.linalg.qr(samples[..., :rank], mode="complete")
    pivots = triangle.diagonal(dim1=2, dim2=3).abs()
    outside = frame.mT.clone()
    outside[:, :, :rank] = 0
    ranks = torch.full((trials, families), rank, device=samples.device)
    size = samples.square().sum((2, 3)).sqrt()
    beyond = (outside @ samples).square().sum((2, 3)).sqrt()
    sound = (pivots.amin(-1) > 1e-4 * size) & (beyond <= RTOL * 1e-3 * size)
    doubtful = torch.nonzero(~sound)
    if len(doubtful):
        trial, family = doubtful.T
        left, values, _ = torch.linalg.svd(samples[trial, family])
        inside = torch.zeros(len(doubtful), m, dtype=torch.bool, device=samples.device)
        inside[:, : values.shape[1]] = values > RTOL * values.amax(1, keepdim=True)
        outside[trial, family], ranks[trial, family] = (left * ~inside[:, None]).mT, inside.sum(1)
    return outside, ranks


def _null_space(stack: Tensor) -> tuple[Tensor, Tensor]:
    """Which of the returned right singular vectors (B, n, n), as columns, a stack (B, M, n) maps to zero: (B, n)."""
    n = stack.shape[2]
    if stack.shape[1] < n:
        stack = torch.cat([stack, stack.new_zeros(len(stack), n - stack.shape[1], n)], 1)
    _, values, rows = torch.linalg.svd(stack, full_matrices=False)
    return values <= RTOL * values.amax(1, keepdim=True), rows.mT


def factor_update(normal: Tensor, target: Tensor, codes: Tensor, old: Tensor, damping: float | Tensor) -> Tensor:
    """The factor U (B, n, p) that minimises sum_g ||Y_g - A_g U C_g||^2, for given codes C_g (B, G, p, N).

    By its normal equations, of size n p: cost independent of N. Where they leave U free it stays near ``old`` (proximal
    term ``damping``, one or (B, 1), over the mean of the diagonal), so they are never singular.

    Args:
        normal: A_g^T A_g, flat, as (B, G, n n).
        target: sum_g A_g^T Y_g C_g^T, (B, n, p).
    """
    _, n, p = old.shape
    grams = (codes @ codes.mT).flatten(2)
    system = (grams.mT @ normal).reshape(-1, p, p, n, n).transpose(2, 3).reshape(-1, n * p, n * p)
    proximal = damping * system.diagonal(dim1=1, dim2=2).mean(1)[:, None]
    system.diagonal(dim1=1, dim2=2).add_(proximal)
    right = target.mT.reshape(-1, n * p, 1) + proximal[..., None] * old.mT.reshape(-1, n * p, 1)
    return torch.cholesky_solve(right, torch.linalg.cholesky_ex(system).L).reshape(-1, p, n).mT


@dataclass(frozen=True)
class Factors:
    """The model found by an iterative solver: orthonormal bases (T, n, k) and relative residuals (T,)."""

    basis: Tensor
    residual: Tensor

    @property
    def projectors(self) -> Tensor:
        return self.basis @ self.basis.mT


def alternating_least_squares(
    operators: Tensor, samples: Tensor, start: Tensor, iterations: int = 150, tolerance: float = 1e-10
) -> Factors:
    """min sum_g ||Y_g - A_g U C_g||^2 by turns over the codes C_g and the basis U (T, n, k).

    It lags behind the threshold (``variable_projection`` does not) and has local minima, so several starts are run at once
    and the one with the smallest residual is kept. The samples are compressed to their leading directions first
    (only Y_g Y_g^T matters), so the cost does not depend on N.

    Args:
        operators, samples: as in ``closed_form``.
        start: (T, R, n, k), the first U of each of R starts.
        iterations: of each start; one whose relative residual is below ``tolerance`` stops (looked at every fifth).
    """
    trials, starts, n, k = start.shape
    families, m = operators.shape[1:3]
    leading = leading_directions(samples, k)
    # Everything that does not change, once a start: A_1, ..., A_G stacked, their normal matrices, and A_g^T Y_g.
    fixed = (
        operators.flatten(1, 2),
        (operators.mT @ operators).flatten(2),
        (operators.mT @ leading).transpose(1, 2).flatten(2),
        leading,
        leading.square().sum((1, 2, 3)).clamp_min(torch.finfo(start.dtype).tiny),
    )
    fixed = [values.repeat_interleave(starts, 0).contiguous() for values in fixed]
    current = start.flatten(0, 1)
    basis, residual = current.clone(), current.new_full((trials * starts,), torch.inf)
    places = torch.arange(trials * starts, device=start.device)
    for step in range(iterations + 1):
        tall, normal, back, measured, energy = fixed
        # The iterates do not depend on the basis chosen of their span: it is made orthonormal now and then.
        checked = step % _CHECK_EVERY == 0 or step == iterations
        current = torch.linalg.qr(current).Q if checked else current
        image = (tall @ current).unflatten(1, (families, m))
        codes = least_squares_codes(image, measured)
        if checked:
            misfit = ((measured - image @ codes).square().sum((1, 2, 3)) / energy).sqrt()
            running = residual[places] > tolerance
            basis[places[running]], residual[places[running]] = current[running], misfit[running]
            running = residual[places] > tolerance
            left = int(running.sum())
            if step == iterations or not left:
                break
            # Copying what is left costs too: not before a quarter has stopped.
            if left < 0.75 * len(places):
                fixed = [values[running] for values in fixed]
                places, current, codes = places[running], current[running], codes[running]
                _, normal, back, _, _ = fixed
        target = back @ codes.mT.flatten(1, 2)
        current = factor_update(normal, target, codes, current, damping=1e-12)
    residual = residual.reshape(trials, starts).nan_to_num(torch.inf)
    best = residual.argmin(1)
    everyone = torch.arange(trials, device=start.device)
    return Factors(basis.reshape(trials, starts, n, k)[everyone, best], residual[everyone, best])


def leading_directions(samples: Tensor, k: int) -> Tensor:
    """L_g (T, G, m, r), r <= k, with L_g L_g^T = Y_g Y_g^T for samples of rank at most k."""
    values, vectors = torch.linalg.eigh(samples @ samples.mT)
    r = min(k, samples.shape[2], samples.shape[3])
    return vectors[..., -r:] * values[..., None, -r:].clamp_min(0).sqrt()


def least_squares_codes(image: Tensor, targets: Tensor) -> Tensor:
    """Least-squares codes (..., k, r) with image (..., m, k) @ codes ~ targets (..., m, r), barely damped.

    By elimination on the normal equations, over the whole batch at once: k is small and the batch is large.
    """
    k = image.shape[-1]
    rows = image.mT @ torch.cat([image, targets], -1)
    diagonal = rows.diagonal(dim1=-2, dim2=-1)
    diagonal.add_(1e-13 * diagonal.mean(-1, keepdim=True) + torch.finfo(rows.dtype).tiny)
    for j in range(k):
        pivot = rows[..., j : j + 1, :] / rows[..., j : j + 1, j : j + 1]
        rows = rows - rows[..., j : j + 1] * pivot
        rows[..., j : j + 1, :] = pivot
    return rows[..., k:]


@dataclass(frozen=True)
class Signals:
    """Signals found by an iterative solver: (T, G, n, N), and by how much the last iteration still changed them."""

    signals: Tensor
    change: Tensor

    def projectors(self, dimension: int) -> Tensor:
        """Onto the leading directions of the signals: (T, n, n)."""
        _, vectors = torch.linalg.eigh(torch.einsum("tgin,tgjn->tij", self.signals, self.signals))
        basis = vectors[..., -dimension:]
        return basis @ basis.mT


def nuclear_norm(operators: Tensor, samples: Tensor, iterations: int = 300, tolerance: float = 1e-7) -> Signals:
    """min ||X||_* subject to A_g X_g = Y_g, by Douglas-Rachford splitting; X (T, n, G N) holds all signals.

    The projection uses pseudo-inverses computed once, the shrinkage of singular values the eigenvalues of X X^T
    (n, n). Trials whose relative change falls below ``tolerance`` stop. As a relaxation it knows nothing of k.
    """
    trials, _, _, n = operators.shape
    inverse = torch.linalg.pinv(operators, rtol=RTOL)
    unseen = torch.eye(n, dtype=operators.dtype, device=operators.device) - inverse @ operators
    pinned = inverse @ samples
    scale = torch.linalg.matrix_norm(_wide(pinned), 2)
    signals, auxiliary = pinned.clone(), pinned.clone()
    change = scale.new_full((trials,), torch.inf)
    running = torch.arange(trials, device=operators.device)
    for _ in range(iterations):
        current = auxiliary[running]
        fitted = pinned[running] + unseen[running] @ current
        step = _shrink(2 * fitted - current, scale[running] / 10) - fitted
        auxiliary[running] = current + step
        signals[running] = fitted
        change[running] = step.square().sum((1, 2, 3)).sqrt() / scale[running].clamp_min(torch.finfo(scale.dtype).tiny)
        running = running[change[running] > tolerance]
        if not len(running):
            break
    return Signals(signals, change)


def _wide(signals: Tensor) -> Tensor:
    """(T, G, n, N) -> (T, n, G N)."""
    return signals.transpose(1, 2).flatten(2)


def _shrink(signals: Tensor, threshold: Tensor) -> Tensor:
    """Singular values of the wide matrices lowered by ``threshold`` (T,), those below it to zero."""
    wide = _wide(signals)
    values, vectors = torch.linalg.eigh(wide @ wide.mT)
    singular = values.clamp_min(0).sqrt()
    factors = (1 - threshold[:, None] / singular.clamp_min(torch.finfo(singular.dtype).tiny)).clamp_min(0)
    return ((vectors * factors[:, None]) @ vectors.mT)[:, None] @ signals


def signals_in_model(operators: Tensor, samples: Tensor, projectors: Tensor, dimension: int) -> Tensor:
    """The signals (T, G, n, N) of the model with these projectors (T, n, n) that fit the samples best.

    A consistent set of more than ``dimension`` dimensions gives the fit of least norm.
    """
    values, vectors = torch.linalg.eigh(projectors)
    basis = vectors * (values > 0.5)[:, None]
    image = operators @ basis[:, None]
    return basis[:, None] @ (torch.linalg.pinv(image, rtol=RTOL) @ samples)
