"""Minimum-norm least squares by conjugate gradients, for operators whose pseudo-inverse has no closed form."""

from collections.abc import Callable

import torch
from torch import Tensor


def _per_sample(values: Tensor, like: Tensor) -> Tensor:
    return values.reshape(-1, *([1] * (like.ndim - 1)))


def _squared_norm(values: Tensor) -> Tensor:
    return values.abs().square().flatten(1).sum(1)


@torch.no_grad()
def cgls(
    forward: Callable[[Tensor], Tensor],
    adjoint: Callable[[Tensor], Tensor],
    data: Tensor,
    iterations: int = 200,
    tolerance: float = 1e-6,
    damping: float = 0.0,
) -> Tensor:
    """A^+ data: the solution of least norm of min ||A x - data||^2 + damping ||x||^2, for every sample on its own.

    data: (B, ...). A sample is finished, and left alone, when ||A^T residual|| has fallen below ``tolerance`` times its
    first value; all are after ``iterations``. What is returned is each sample's best iterate: rounding may carry later
    ones away. Starting from zero keeps x in the row space of A, which makes it the pseudo-inverse's (Hestenes and Stiefel
    1952; the CGLS form, which never squares the condition number).
    """
    residual = data
    gradient = adjoint(residual)
    solution = best = torch.zeros_like(gradient)
    direction = gradient
    energy = least = _squared_norm(gradient)
    goal = energy * tolerance**2
    tiny = torch.finfo(energy.dtype).tiny
    for _ in range(iterations):
        active = least > goal
        if not bool(active.any()):
            break
        image = forward(direction)
        curvature = _squared_norm(image) + damping * _squared_norm(direction)
        step = torch.where(active & (curvature > 0), energy / curvature.clamp_min(tiny), 0.0)
        solution = solution + _per_sample(step, solution) * direction
        residual = residual - _per_sample(step, residual) * image
        gradient = adjoint(residual) - damping * solution
        previous, energy = energy, _squared_norm(gradient)
        better = energy < least
        least = torch.where(better, energy, least)
        best = torch.where(_per_sample(better, best), solution, best)
        ratio = torch.where(active, energy / previous.clamp_min(tiny), 0.0)
        direction = gradient + _per_sample(ratio, direction) * direction
    return best
