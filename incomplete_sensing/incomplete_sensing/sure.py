"""Stein's unbiased risk estimates: of mean (A x1 - clean y)^2, from noisy y alone; x1 = f(y, g)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from incomplete_sensing.losses import Reconstruct
from incomplete_sensing.operators import OperatorFamily


class Sure(NamedTuple):
    """Per sample, (B,): ``loss`` is the estimate; ``fit`` and ``divergence`` its data and correction terms."""

    loss: Tensor
    fit: Tensor
    divergence: Tensor


def _sums(values: Tensor) -> Tensor:
    return values.flatten(1).sum(1)


def _observed_count(operators: OperatorFamily, g: int | Tensor, measurements: Tensor) -> Tensor:
    return _sums(operators.observed(g).expand_as(measurements))


def sure_gaussian(
    estimate: Tensor,
    measurements: Tensor,
    reconstruct: Reconstruct,
    operators: OperatorFamily,
    g: int | Tensor,
    sigma: float,
    tau: float = 0.01,
    probe: Tensor | None = None,
    num_measurements: float | Tensor | None = None,
) -> Sure:
    """||A x1 - y||^2 / m + 2 sigma^2 b.(A f(y + tau b) - A x1) / (tau m) - sigma^2, b standard normal (Ramani 2008).

    Args:
        estimate: x1 = f(y, g), (B, C, H, W).
        measurements: y, noisy.
        reconstruct: f.
        operators: the family.
        g: operator of each sample.
        sigma: of the noise.
        tau: step of the divergence.
        probe: b; drawn on the observed entries where not given.
        num_measurements: m, the number of observed entries where not given; deepinv counts all entries, REI a nominal
            n / acceleration.
    """
    m = _observed_count(operators, g, measurements) if num_measurements is None else num_measurements
    b = torch.randn_like(measurements) * operators.observed(g) if probe is None else probe
    image = operators(estimate, g)
    shifted = operators(reconstruct(measurements + tau * b, g), g)
    fit = _sums((image - measurements).square()) / m
    divergence = 2 * sigma**2 * _sums(b * (shifted - image)) / (tau * m)
    return Sure(fit + divergence - sigma**2, fit, divergence)


def _signs(measurements: Tensor) -> Tensor:
    return torch.randint(2, measurements.shape, device=measurements.device).to(measurements.dtype) * 2 - 1


def sure_poisson(
    estimate: Tensor,
    measurements: Tensor,
    reconstruct: Reconstruct,
    operators: OperatorFamily,
    g: int | Tensor,
    gain: float,
    tau: float = 0.01,
    probe: Tensor | None = None,
    num_measurements: float | Tensor | None = None,
) -> Sure:
    """||A x1 - y||^2 / m - gain sum(y) / m + 2 gain (b y).(A f(y + tau b) - A x1) / (tau m), b random signs [REI]."""
    m = _observed_count(operators, g, measurements) if num_measurements is None else num_measurements
    b = _signs(measurements) * operators.observed(g) if probe is None else probe
    image = operators(estimate, g)
    shifted = operators(reconstruct(measurements + tau * b, g), g)
    fit = _sums((image - measurements).square()) / m
    divergence = 2 * gain * _sums(b * measurements * (shifted - image)) / (tau * m)
    return Sure(fit + divergence - gain * _sums(measurements) / m, fit, divergence)


def sure_poisson_gaussian(
    estimate: Tensor,
    measurements: Tensor,
    reconstruct: Reconstruct,
    operators: OperatorFamily,
    g: int | Tensor,
    sigma: float,
    gain: float,
    tau: float = 0.01,
    probe: Tensor | None = None,
    num_measurements: float | Tensor | None = None,
) -> Sure:
    """||A x1 - y||^2 / m - gain sum(y) / m - sigma^2 + 2 (b (gain y + sigma^2)).(A f(y + tau b) - A x1) / (tau m).

    Unbiased to first order in the gain; what is left out is -2 gain sigma^2 times the mean second derivative of A f
    along its own entry, zero for piecewise linear networks almost everywhere.
    """
    m = _observed_count(operators, g, measurements) if num_measurements is None else num_measurements
    b = _signs(measurements) * operators.observed(g) if probe is None else probe
    image = operators(estimate, g)
    shifted = operators(reconstruct(measurements + tau * b, g), g)
    fit = _sums((image - measurements).square()) / m
    divergence = 2 * _sums(b * (gain * measurements + sigma**2) * (shifted - image)) / (tau * m)
    return Sure(fit + divergence - gain * _sums(measurements) / m - sigma**2, fit, divergence)


def sure_poisson_gaussian_rei(
    estimate: Tensor,
    measurements: Tensor,
    reconstruct: Reconstruct,
    operators: OperatorFamily,
    g: int | Tensor,
    sigma: float,
    gain: float,
    tau: float = 10.0,
    normal_probe: Tensor | None = None,
    sign_probe: Tensor | None = None,
    num_measurements: float | None = None,
) -> Sure:
    """REI's mixed-noise loss as published (CT), for comparison: three more passes through the network.

    ||A x1 - y||^2 / m - sigma^2 + 2 (b1 (gain y + sigma^2)).(A f(y + tau b1) - A x1) / (tau m)
    + 2 sigma^2 gain b2.(A f(y + tau b2) + A f(y - tau b2) - 2 A x1) / (tau^2 m), b1 normal, b2 random signs. It lacks
    the constant -gain sum(y) / m, and its last term has mean zero, for the third moment of b2 is zero.
    """
    m = float(measurements[0].numel()) if num_measurements is None else num_measurements
    b1 = torch.randn_like(measurements) if normal_probe is None else normal_probe
    b2 = _signs(measurements) if sign_probe is None else sign_probe
    image = operators(estimate, g)
    moved = [operators(reconstruct(measurements + tau * step, g), g) for step in (b1, b2, -b2)]
    fit = _sums((image - measurements).square()) / m
    first = 2 * _sums(b1 * (gain * measurements + sigma**2) * (moved[0] - image)) / (tau * m)
    second = 2 * sigma**2 * gain * _sums(b2 * (moved[1] + moved[2] - 2 * image)) / (tau**2 * m)
    return Sure(fit - sigma**2 + first + second, fit, first + second)


class NoiseLevel:
    """UNSURE (Tachella et al. 2025): an unknown sigma^2 as the multiplier that keeps the divergence of A f at zero.

    The network minimises the risk estimate, sigma^2 ascends along the divergence: ``sure_gaussian`` with ``sigma``,
    then ``ascend``.

    Args:
        sigma: to start from.
        step: of the ascent of sigma^2.
    """

    def __init__(self, sigma: float = 0.1, step: float = 1e-4) -> None:
        self.variance, self.step = sigma**2, step

    @property
    def sigma(self) -> float:
        return max(self.variance, 1e-12) ** 0.5

    def ascend(self, risk: Sure) -> None:
        """A step with the risk estimate of a batch, which was made with ``sigma``."""
        self.variance += self.step * float(risk.divergence.detach().mean()) / self.sigma**2
