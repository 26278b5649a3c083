"""Data consistency: what an unrolled network does with the measurements between two passes of its encoder.

With N = A^H W A of norm L and h = A^H W y, each kind makes the next input of the encoder, g, from the time series x that
the last pass left; ``first`` makes it where there is no x yet. All shapes are (B, s, H, W).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol

import torch
from torch import Tensor
from torch.nn import functional

Normal = Callable[[Tensor], Tensor]
StepRule = Literal["relu_plus_one", "softplus", "penalty"]
ConsistencyName = Literal["gradient", "cg", "none"]

# What a learnt number alpha means on an operator of norm L.
STEP_RULES: dict[StepRule, Callable[[Tensor, float | Tensor], Tensor]] = {
    "relu_plus_one": lambda alpha, lipschitz: torch.relu(alpha) + 1,
    "softplus": lambda alpha, lipschitz: functional.softplus(alpha) / lipschitz,
    "penalty": lambda alpha, lipschitz: functional.softplus(alpha) * lipschitz,
}


class Consistency(Protocol):
    """A kind of data consistency; ``step`` is the step (or penalty) of the iteration."""

    def first(self, h: Tensor, normal: Normal, step: Tensor, lipschitz: float | Tensor) -> Tensor:
        """g_0."""
        ...

    def __call__(self, x: Tensor, h: Tensor, normal: Normal, step: Tensor) -> Tensor:
        """g_t from x_{t-1}."""
        ...


class GradientStep:
    """g_0 = step h, g = x - step (N x - h): proximal gradient descent, as published."""

    def first(self, h: Tensor, normal: Normal, step: Tensor, lipschitz: float | Tensor) -> Tensor:
        return step * h

    def __call__(self, x: Tensor, h: Tensor, normal: Normal, step: Tensor) -> Tensor:
        return x - step * (normal(x) - h)


class NoConsistency(GradientStep):
    """The measurements are seen once, in g_0; after that g = x: the ablation."""

    def __call__(self, x: Tensor, h: Tensor, normal: Normal, step: Tensor) -> Tensor:
        return x


class ConjugateGradients:
    """g = argmin |W^(1/2)(A g - y)|^2 + step |g - x|^2 to some accuracy (MoDL, Aggarwal 2019); g_0 is low-rank inversion.

    Args:
        iterations: of conjugate gradients from x.
        start_iterations, start_penalty: of those for g_0, from 0, with ``start_penalty`` L in the place of ``step`` and 0
            in that of x.
    """

    def __init__(self, iterations: int = 5, start_iterations: int = 20, start_penalty: float = 3e-3) -> None:
        self.iterations, self.start_iterations, self.start_penalty = iterations, start_iterations, start_penalty

    def to_the_end(self) -> ConjugateGradients:
        """With as many iterations as trajectories and sizes of other conditions need: four times as many first, then three."""
        return ConjugateGradients(3 * self.iterations, 4 * self.start_iterations, self.start_penalty)

    def first(self, h: Tensor, normal: Normal, step: Tensor, lipschitz: float | Tensor) -> Tensor:
        with torch.no_grad():
            return _solve(normal, h, self.start_penalty * lipschitz, torch.zeros_like(h), h, self.start_iterations)

    def __call__(self, x: Tensor, h: Tensor, normal: Normal, step: Tensor) -> Tensor:
        return _solve(normal, h, step, x, h - normal(x), self.iterations)


def _solve(normal: Normal, h: Tensor, penalty: float | Tensor, x: Tensor, residual: Tensor, iterations: int) -> Tensor:
    """Conjugate gradients for (N + penalty) g = h + penalty x from x; differentiable, an item by itself."""
    direction, energy = residual, _energy(residual, residual)
    for _ in range(iterations):
        image = normal(direction) + penalty * direction
        step = energy / _energy(direction, image).clamp_min(_TINY)
        x = x + step * direction
        residual = residual - step * image
        following = _energy(residual, residual)
        direction = residual + following / energy.clamp_min(_TINY) * direction
        energy = following
    return x


_TINY = 1e-30


def _energy(a: Tensor, b: Tensor) -> Tensor:
    """(B, 1, 1, 1) Re <a, b>."""
    product = (a.conj() * b).real if a.is_complex() else a * b
    return product.sum(dim=(1, 2, 3), keepdim=True)


CONSISTENCIES: dict[ConsistencyName, type[Consistency]] = {
    "gradient": GradientStep,
    "cg": ConjugateGradients,
    "none": NoConsistency,
}
