"""What is minimised: functions of tensors, one an equation, and ``Objective``, which puts a method together.

f(y, g) is the reconstruction, x1 = f(y, g) its output for the batch. Means are over every entry of a tensor, batch
included. Gradients flow through x1 wherever it occurs, so through the virtual measurements too, as in the published
code.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from incomplete_sensing.noise import Noise
from incomplete_sensing.operators import OperatorFamily
from incomplete_sensing.transforms import Transform, build_transform
from shared_utils import UserError

log = logging.getLogger(__name__)

Reconstruct = Callable[[Tensor, "int | Tensor"], Tensor]
Method = Literal["mc", "moi", "ei", "moei", "split", "sup"]
SELF_SUPERVISED: tuple[Method, ...] = ("mc", "moi", "ei", "moei", "split")


def measurement_consistency(
    estimate: Tensor,
    measurements: Tensor,
    operators: OperatorFamily,
    g: int | Tensor,
    normalise: Literal["all", "observed"] = "all",
) -> Tensor:
    """MC: mean (A_g x1 - y)^2.

    normalise: over ``all`` entries, the zeros of masked measurements included, as published, so that the weight of MC
    against the other term falls with the share of observed entries; or over the ``observed`` ones.
    """
    squared = (operators(estimate, g) - measurements).square()
    if normalise == "all":
        return squared.mean()
    observed = operators.observed(g).expand_as(squared)
    return (squared * observed).sum() / observed.sum()


def draw_cross_operators(
    g: Tensor,
    num_operators: int,
    per: Literal["sample", "batch"] = "sample",
    exclude_self: bool = True,
    generator: torch.Generator | None = None,
) -> Tensor:
    """j for the cross-operator terms: (B,), uniform over the operators other than each sample's own.

    per: one draw a sample, or one a batch as published (the same step from g to j for all, so in a batch of one
    operator one j). exclude_self=False draws from all operators, g included, as deepinv does.
    """
    count = len(g) if per == "sample" else 1
    if not exclude_self:
        return torch.randint(num_operators, (count,), generator=generator).to(g.device).expand(len(g))
    if num_operators < 2:
        raise UserError("there is no other operator: the cross-operator term needs G >= 2")
    step = torch.randint(1, num_operators, (count,), generator=generator).to(g.device)
    return (g + step) % num_operators


def cross_operator(
    estimate: Tensor, reconstruct: Reconstruct, operators: OperatorFamily, j: int | Tensor, noise: Noise | None = None
) -> Tensor:
    """MOI: mean (f(A_j x1, j) - x1)^2 (Tachella, Chen, Davies 2022). noise: added to the virtual measurements."""
    virtual = operators(estimate, j)
    if noise:
        virtual = noise(virtual, operators.observed(j))
    return (reconstruct(virtual, j) - estimate).square().mean()


def equivariance(
    transformed: Tensor,
    reconstruct: Reconstruct,
    operators: OperatorFamily,
    g: int | Tensor,
    noise: Noise | None = None,
) -> Tensor:
    """EI: mean (f(A_g T x1, g) - T x1)^2 (Chen, Tachella, Davies 2021); MO-EI where g are other operators.

    transformed: T x1, the copies stacked along the batch; g repeats with them.
    """
    if isinstance(g, Tensor):
        g = g.repeat(len(transformed) // len(g))
    return cross_operator(transformed, reconstruct, operators, g, noise)


def supervised(estimate: Tensor, truth: Tensor) -> Tensor:
    """mean (x1 - x)^2."""
    return (estimate - truth).square().mean()


# Splitting -----------------------------------------------------------------------------------------------------------


def draw_splits(operators: OperatorFamily, g: Tensor, share: float, generator: torch.Generator | None = None) -> Tensor:
    """Which observed entries the network is given: 0/1, each with probability ``share``, fresh for every sample.

    Broadcastable to the measurements: (B, m), or (B, 1, ...), shared by real and imaginary part or by colours.
    """
    shape = (len(g), *operators.measurement_shape)
    if len(shape) > 2:
        shape = (shape[0], 1, *shape[2:])
    kept = (torch.rand(shape, generator=generator) < share).to(g.device, torch.float32)
    return kept * operators.observed(g)[:, :1] if len(shape) > 2 else kept * operators.observed(g)


def splitting(
    estimate: Tensor,
    measurements: Tensor,
    operators: OperatorFamily,
    g: int | Tensor,
    target: Tensor,
    normalise: bool = True,
) -> Tensor:
    """SSDU: mean (target (A_g x1 - y))^2, over mean(target) where normalised; x1 = f(split y, g), target the rest."""
    loss = (target * (operators(estimate, g) - measurements)).square().mean()
    return loss / target.expand_as(measurements).mean() if normalise else loss


# Stein's unbiased risk estimates: of mean (A x1 - clean y)^2, from noisy y -------------------------------------------


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

    probe: b; drawn on the observed entries where not given. num_measurements: m, the number of observed entries where
    not given; deepinv counts all entries, REI a nominal n / acceleration.
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


# ---------------------------------------------------------------------------------------------------------------------


class Objective:
    """A training method: from f, the operators and a batch to a loss and its terms.

    method: mc (measurement consistency alone), moi (MC + cross_weight * cross-operator term), ei (MC +
    equivariance_weight * EI), moei (EI through other operators), split (SSDU), sup (the only one that sees the truth).
    Where noise is declared, the risk estimate for it (SURE) takes the place of MC.

    cross_draw, exclude_self: see ``draw_cross_operators``. transform, num_transforms: of ei and moei; detach: no
    gradient through T x1. normalise: of MC. noise: of the measurements; virtual_noise: also added to the virtual ones.
    tau: step of SURE's divergence. split_share: share of the observed entries that split gives to the network.

    Raises UserError for an unknown method, and for weights with which nothing, or a constant, would be learned.
    """

    def __init__(
        self,
        method: Method,
        cross_weight: float = 1.0,
        equivariance_weight: float = 1.0,
        cross_draw: Literal["sample", "batch"] = "sample",
        exclude_self: bool = True,
        transform: str | Transform = "shift",
        num_transforms: int = 1,
        detach: bool = False,
        normalise: Literal["all", "observed"] = "all",
        noise: Noise | None = None,
        virtual_noise: bool = False,
        tau: float = 0.01,
        consistency_weight: float = 1.0,
        split_share: float = 0.6,
    ) -> None:
        if method not in (*SELF_SUPERVISED, "sup"):
            raise UserError(f"unknown method {method!r}; known: {', '.join((*SELF_SUPERVISED, 'sup'))}")
        if consistency_weight <= 0:
            raise UserError(
                "consistency_weight must be positive: without measurement consistency a constant network is optimal"
            )
        if cross_weight < 0 or equivariance_weight < 0:
            raise UserError("weights are not negative")
        if not 0 < split_share < 1:
            raise UserError(f"split_share must lie between 0 and 1, got {split_share}")
        if num_transforms < 1:
            raise UserError(f"num_transforms must be at least 1, got {num_transforms}")
        self.method, self.consistency_weight = method, consistency_weight
        self.cross_weight, self.equivariance_weight = cross_weight, equivariance_weight
        self.cross_draw, self.exclude_self = cross_draw, exclude_self
        self.transform = build_transform(transform) if isinstance(transform, str) else transform
        self.num_transforms, self.detach, self.normalise = num_transforms, detach, normalise
        self.noise, self.virtual_noise, self.tau = noise or Noise(), virtual_noise, tau
        self.split_share = split_share

    @property
    def needs_truth(self) -> bool:
        return self.method == "sup"

    def __call__(
        self,
        reconstruct: Reconstruct,
        operators: OperatorFamily,
        measurements: Tensor,
        g: Tensor,
        truth: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """{"loss": the sum, and its terms by name}. truth: for sup alone; any other method refuses it."""
        if (truth is not None) != self.needs_truth:
            raise UserError(
                "method sup needs the truth (data.truth: true)"
                if self.needs_truth
                else f"method {self.method} is self-supervised: it takes no truth (data.truth: false)"
            )
        if self.method == "sup":
            loss = supervised(reconstruct(measurements, g), truth)
            return {"loss": loss, "supervised": loss}
        if self.method == "split":
            given = draw_splits(operators, g, self.split_share)
            target = operators.observed(g) - given
            loss = splitting(reconstruct(given * measurements, g), measurements, operators, g, target)
            return {"loss": loss, "splitting": loss}
        estimate = reconstruct(measurements, g)
        terms = {"consistency": self.consistency(estimate, measurements, reconstruct, operators, g)}
        loss = self.consistency_weight * terms["consistency"]
        noise = self.noise if self.virtual_noise else None
        several = operators.num_operators > 1
        if self.method == "moi" and several:
            j = draw_cross_operators(g, operators.num_operators, self.cross_draw, self.exclude_self)
            terms["cross"] = cross_operator(estimate, reconstruct, operators, j, noise)
            loss = loss + self.cross_weight * terms["cross"]
        if self.method in ("ei", "moei"):
            elements = self.transform.draw(self.num_transforms, operators.image_shape)
            transformed = self.transform.apply(estimate.detach() if self.detach else estimate, elements)
            j = g.repeat(self.num_transforms)
            if self.method == "moei" and several:
                j = draw_cross_operators(j, operators.num_operators, self.cross_draw, self.exclude_self)
            terms["equivariance"] = equivariance(transformed, reconstruct, operators, j, noise)
            loss = loss + self.equivariance_weight * terms["equivariance"]
        return {"loss": loss, **terms}

    def consistency(
        self, estimate: Tensor, measurements: Tensor, reconstruct: Reconstruct, operators: OperatorFamily, g: Tensor
    ) -> Tensor:
        """MC, or the risk estimate that replaces it under the declared noise."""
        sigma, gain = self.noise.sigma, self.noise.gain
        if not self.noise:
            return measurement_consistency(estimate, measurements, operators, g, self.normalise)
        common = (estimate, measurements, reconstruct, operators, g)
        if gain == 0:
            return sure_gaussian(*common, sigma, self.tau).loss.mean()
        if sigma == 0:
            return sure_poisson(*common, gain, self.tau).loss.mean()
        return sure_poisson_gaussian(*common, sigma, gain, self.tau).loss.mean()
