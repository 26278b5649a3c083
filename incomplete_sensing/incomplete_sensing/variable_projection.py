"""Recover an unknown linear model from incomplete samples by variable projection, which reaches the exact threshold.

The codes are eliminated: what is minimised over the basis U is sum_g ||(I - P_g) Y_g||^2, P_g the projector onto A_g U. A step
is the one of alternating least squares with A_g^T (I - P_g) A_g in place of A_g^T A_g (Gauss-Newton with Kaufman's Jacobian),
from the residual, damped as Levenberg and Marquardt do. Everything is batched over trials, as in ``solvers``.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from incomplete_sensing.solvers import Factors, factor_update, leading_directions, least_squares_codes

_PATIENCE, _PROGRESS = 20, 0.9
"""A start is given up when its residual has not fallen to this share within so many steps."""


@dataclass(frozen=True)
class _Measured:
    """What does not change: operators (B, G, m, n), compressed samples (B, G, m, r), their energy (B,)."""

    operators: Tensor
    samples: Tensor
    energy: Tensor

    def of(self, rows: Tensor) -> _Measured:
        return _Measured(self.operators[rows], self.samples[rows], self.energy[rows])


def variable_projection(
    operators: Tensor, samples: Tensor, start: Tensor, iterations: int = 60, tolerance: float = 1e-10
) -> Factors:
    """min over U of sum_g ||(I - P_g) Y_g||^2 by damped Gauss-Newton steps.

    A trial ends with its first start whose relative residual is below ``tolerance``; where none is, the best is kept.

    Args:
        operators: (T, G, m, n).
        samples: (T, G, m, N).
        start: (T, R, n, k), the first U of each of R starts.
        iterations: of each start.
    """
    trials, starts, _, k = start.shape
    leading = leading_directions(samples, k)
    energy = leading.square().sum((1, 2, 3)).clamp_min(torch.finfo(start.dtype).tiny)
    measured = _Measured(operators, leading, energy)
    best = Factors(start[:, 0].clone(), start.new_full((trials,), torch.inf))
    left = torch.arange(trials, device=start.device)
    for number in range(starts):
        found = _descend(measured.of(left), start[left, number], iterations, tolerance)
        better = found.residual < best.residual[left]
        best.basis[left[better]], best.residual[left[better]] = found.basis[better], found.residual[better]
        left = left[best.residual[left] > tolerance]
        if not len(left):
            break
    return best


def _descend(measured: _Measured, start: Tensor, iterations: int, tolerance: float) -> Factors:
    """From one start a problem: the basis with the smallest residual, (B, n, k), and that residual (B,)."""
    basis = torch.linalg.qr(start).Q
    residual = _misfit(measured, basis)[1]
    mark, since = residual.clone(), torch.zeros_like(residual)
    damping = torch.full_like(residual, 1e-2)
    running = torch.nonzero(residual > tolerance).flatten()
    for _ in range(iterations):
        if not len(running):
            break
        own = measured.of(running)
        moved = torch.linalg.qr(basis[running] + _step(own, basis[running], damping[running])).Q
        reached = _misfit(own, moved)[1]
        better = reached < residual[running]
        accepted = running[better]
        basis[accepted], residual[accepted] = moved[better], reached[better]
        damping[running] = torch.where(better, damping[running] / 5, damping[running] * 8).clamp(1e-12, 1e8)
        since[running] += 1
        fallen = running[residual[running] < _PROGRESS * mark[running]]
        mark[fallen], since[fallen] = residual[fallen], 0
        running = running[(residual[running] > tolerance) & (since[running] < _PATIENCE)]
    return Factors(basis, residual)


def _misfit(measured: _Measured, basis: Tensor) -> tuple[Tensor, Tensor]:
    """Orthonormal columns of A_g U, (B, G, m, min(k, m)), and the relative residual (B,)."""
    frames = torch.linalg.qr(measured.operators @ basis[:, None]).Q
    outside = measured.samples - frames @ (frames.mT @ measured.samples)
    return frames, (outside.square().sum((1, 2, 3)) / measured.energy).sqrt()


def _step(measured: _Measured, basis: Tensor, damping: Tensor) -> Tensor:
    """The change of U, (B, n, k)."""
    operators, samples = measured.operators, measured.samples
    image = operators @ basis[:, None]
    frames = torch.linalg.qr(image).Q
    outside = operators - frames @ (frames.mT @ operators)
    codes = least_squares_codes(image, samples)
    normal = (outside.mT @ outside).flatten(2)
    target = (outside.mT @ samples @ codes.mT).sum(1)
    return factor_update(normal, target, codes, torch.zeros_like(basis), damping[:, None])
