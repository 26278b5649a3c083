"""``Objective``: a training method, put together from the losses."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from incomplete_sensing.losses import (
    Reconstruct,
    cross_operator,
    draw_cross_operators,
    draw_splits,
    equivariance,
    equivariant_splitting,
    measurement_consistency,
    recorrupt,
    robust_splitting,
    splitting,
    splitting_weight,
    supervised,
    weighted_splitting,
)
from incomplete_sensing.noise import Noise
from incomplete_sensing.operators import MovedOperators, OperatorFamily
from incomplete_sensing.sure import NoiseLevel, sure_gaussian, sure_poisson, sure_poisson_gaussian
from incomplete_sensing.transforms import PermutationGroup, Transform, build_transform
from shared_utils import UserError

Method = Literal[
    "mc",
    "moi",
    "ei",
    "moei",
    "split",
    "splitmoi",
    "eqsplit",
    "sup",
    "mean",
    "gaussian",
    "stationary",
    "mixture",
    "linear",
]
SELF_SUPERVISED: tuple[Method, ...] = ("mc", "moi", "ei", "moei", "split", "splitmoi", "eqsplit")
FITTED: tuple[Method, ...] = ("mean", "gaussian", "stationary", "mixture", "linear")
"""Not trained by gradients; see ``fitting``."""
NEEDS_TRUTH: tuple[Method, ...] = ("sup", "linear")


class Objective:
    """A training method: from f, the operators and a batch to a loss and its terms.

    Args:
        method: mc (measurement consistency alone), moi (MC + cross_weight * cross-operator term), ei (MC +
            equivariance_weight * EI), moei (EI through other operators), split (SSDU), splitmoi (the error on rows left
            out + cross_weight * the cross-operator term on the rows given), sup (the only one that sees the truth).
            eqsplit (equivariant splitting, needs a group). Where noise is declared, a risk estimate takes the place of MC.
        cross_weight: of the cross-operator term.
        equivariance_weight: of the equivariance term.
        cross_draw: see ``draw_cross_operators``.
        exclude_self: see ``draw_cross_operators``.
        transform: of ei and moei, by name or an object of one's own.
        num_transforms: elements of it that are drawn at each step.
        detach: no gradient through T x1.
        normalise: of MC.
        noise: of the measurements.
        virtual_noise: add it to the virtual measurements too.
        tau: step of SURE's divergence.
        consistency_weight: of MC.
        split_share: share of the observed entries that split gives to the network.
        split_range: splitmoi's, drawn from a range for every split.
        split_draw: splitmoi's splits, see ``draw_splits``.
        split_kind: of split: plain, weighted (for masks at random) or robust (under Gaussian noise too).
        risk: in the place of MC: sure for the declared noise; unsure for Gaussian noise of an unknown level, which is
            learned from ``noise_start`` in steps of ``noise_step``; r2r, which gives f noisier measurements.
        noise_start: see risk.
        noise_step: see risk.
        alpha: how much noise robust splitting and r2r add.

    Raises:
        UserError: the method is unknown, or the weights are such that nothing, or a constant, would be learned.
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
        split_range: tuple[float, float] = (0.5, 0.95),
        split_draw: Literal["sample", "operator"] = "sample",
        split_kind: Literal["plain", "weighted", "robust"] = "plain",
        risk: Literal["sure", "unsure", "r2r"] = "sure",
        noise_start: float = 0.1,
        noise_step: float = 1e-4,
        alpha: float = 0.5,
    ) -> None:
        known = (*SELF_SUPERVISED, "sup", *FITTED)
        if method not in known:
            raise UserError(f"unknown method {method!r}; known: {', '.join(known)}")
        if consistency_weight <= 0:
            raise UserError(
                "consistency_weight must be positive: without measurement consistency a constant network is optimal"
            )
        if cross_weight < 0 or equivariance_weight < 0:
            raise UserError("weights are not negative")
        if not 0 < split_share < 1:
            raise UserError(f"split_share must lie between 0 and 1, got {split_share}")
        if not 0 < split_range[0] <= split_range[1] < 1:
            raise UserError(f"split_range must be a range between 0 and 1, got {split_range[0]} to {split_range[1]}")
        if num_transforms < 1:
            raise UserError(f"num_transforms must be at least 1, got {num_transforms}")
        self.method: Method = method
        self.consistency_weight = consistency_weight
        self.cross_weight, self.equivariance_weight = cross_weight, equivariance_weight
        self.cross_draw: Literal["sample", "batch"] = cross_draw
        self.exclude_self = exclude_self
        self.transform = build_transform(transform) if isinstance(transform, str) else transform
        self.num_transforms, self.detach = num_transforms, detach
        self.normalise: Literal["all", "observed"] = normalise
        self.noise, self.virtual_noise, self.tau = noise or Noise(), virtual_noise, tau
        self.split_share = split_share
        self.split_range = split_range
        self.split_draw: Literal["sample", "operator"] = split_draw
        self.split_kind, self.risk, self.alpha = split_kind, risk, alpha
        self.noise_level = NoiseLevel(noise_start, noise_step)
        if not 0 < alpha < 1:
            raise UserError(f"alpha must lie between 0 and 1, got {alpha}")
        if (risk == "r2r" or split_kind == "robust") and (self.noise.sigma == 0 or self.noise.gain > 0):
            raise UserError(f"{risk if risk == 'r2r' else 'robust splitting'} needs Gaussian noise (noise_sigma)")
        if method == "eqsplit" and not isinstance(self.transform, PermutationGroup):
            raise UserError("eqsplit needs a group of transforms that permute pixels, such as shift or rot90")

    @property
    def needs_truth(self) -> bool:
        return self.method in NEEDS_TRUTH

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
                f"method {self.method} needs the truth (data.truth: true)"
                if self.needs_truth
                else f"method {self.method} is self-supervised: it takes no truth (data.truth: false)"
            )
        if self.method in FITTED:
            raise UserError(f"method {self.method} is fitted, it has no loss to follow")
        if truth is not None:  # which sup alone takes
            loss = supervised(reconstruct(measurements, g), truth)
            return {"loss": loss, "supervised": loss}
        if self.method == "split":
            loss = self._split(reconstruct, operators, measurements, g)
            return {"loss": loss, "splitting": loss}
        if self.method == "eqsplit":
            loss = self._equivariant_split(reconstruct, operators, measurements, g)
            return {"loss": loss, "splitting": loss}
        if self.method == "splitmoi":
            return self._left_out(reconstruct, operators, measurements, g)
        if self.risk == "r2r":
            noise = self.noise.sigma * torch.randn_like(measurements) * operators.observed(g)
            noisier, target = recorrupt(measurements, noise, self.alpha)
            estimate = reconstruct(noisier, g)
            terms = {"consistency": measurement_consistency(estimate, target, operators, g, self.normalise)}
        else:
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

    def _split(self, reconstruct: Reconstruct, operators: OperatorFamily, measurements: Tensor, g: Tensor) -> Tensor:
        given = draw_splits(operators, g, self.split_share)
        if self.split_kind == "plain":
            estimate = reconstruct(given * measurements, g, given)
            return splitting(estimate, measurements, operators, g, operators.observed(g) - given)
        often = torch.cat([operators.observed(number) for number in range(operators.num_operators)]).mean(0)
        weight = splitting_weight(often, self.split_share)
        if self.split_kind == "weighted":
            estimate = reconstruct(given * measurements, g, given)
            return weighted_splitting(estimate, measurements, operators, g, operators.observed(g) - given, weight)
        noisier = measurements + self.alpha * self.noise.sigma * torch.randn_like(measurements)
        estimate = reconstruct(given * noisier, g, given)
        return robust_splitting(estimate, measurements, operators, g, given, weight, self.alpha)

    def _equivariant_split(
        self, reconstruct: Reconstruct, operators: OperatorFamily, measurements: Tensor, g: Tensor
    ) -> Tensor:
        """x1 = T f(given y, A T): f is given another orientation of the operator at every step."""
        group = self.transform
        if not isinstance(group, PermutationGroup) or not hasattr(reconstruct, "reconstruct"):
            raise UserError("eqsplit needs a Reconstructor, which reconstructs through other operators")
        places = torch.arange(operators.num_pixels).reshape(1, *operators.image_shape)
        (element,) = group.draw(1, operators.image_shape)
        moved = MovedOperators(operators, group.act(places, element).flatten())
        given = draw_splits(operators, g, self.split_share)
        estimate = group.act(reconstruct.reconstruct(given * measurements, moved, g, given), element)  # type: ignore[attr-defined]
        return equivariant_splitting(estimate, measurements, operators, g, given)

    def _left_out(
        self, reconstruct: Reconstruct, operators: OperatorFamily, measurements: Tensor, g: Tensor
    ) -> dict[str, Tensor]:
        """The error on rows that f was not given, and MOI where it is given a part of the virtual rows too.

        MC and MOI on all rows leave a continuum: U (A_g U)^-1 y has zero loss for almost any subspace U of dimension m.
        """
        given = draw_splits(operators, g, self.split_range, per=self.split_draw)
        estimate = reconstruct(given * measurements, g, given)
        target = operators.observed(g) - given
        terms = {"splitting": splitting(estimate, measurements, operators, g, target)}
        loss = terms["splitting"]
        if operators.num_operators > 1 and self.cross_weight:
            j = draw_cross_operators(g, operators.num_operators, self.cross_draw, self.exclude_self)
            noise = self.noise if self.virtual_noise else None
            again = draw_splits(operators, j, self.split_range, per=self.split_draw)
            terms["cross"] = cross_operator(estimate, reconstruct, operators, j, noise, again)
            loss = loss + self.cross_weight * terms["cross"]
        return {"loss": loss, **terms}

    def consistency(
        self, estimate: Tensor, measurements: Tensor, reconstruct: Reconstruct, operators: OperatorFamily, g: Tensor
    ) -> Tensor:
        """MC, or the risk estimate that replaces it under the declared noise."""
        sigma, gain = self.noise.sigma, self.noise.gain
        if self.risk == "unsure":
            level = self.noise_level
            found = sure_gaussian(estimate, measurements, reconstruct, operators, g, level.sigma, self.tau)
            if estimate.requires_grad:
                level.ascend(found)
            return found.loss.mean()
        if not self.noise:
            return measurement_consistency(estimate, measurements, operators, g, self.normalise)
        common = (estimate, measurements, reconstruct, operators, g)
        if gain == 0:
            return sure_gaussian(*common, sigma, self.tau).loss.mean()
        if sigma == 0:
            return sure_poisson(*common, gain, self.tau).loss.mean()
        return sure_poisson_gaussian(*common, sigma, gain, self.tau).loss.mean()
