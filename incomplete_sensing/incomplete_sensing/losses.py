"""What is minimised: functions of tensors, one an equation. ``objective`` puts them together to a method.

f(y, g) is the reconstruction, x1 = f(y, g) its output for the batch. Means are over every entry of a tensor, batch
included. Gradients flow through x1 wherever it occurs, so through the virtual measurements too, as in the published
code.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from incomplete_sensing.noise import Noise
from incomplete_sensing.operators import OperatorFamily
from shared_utils import UserError

Reconstruct = Callable[..., Tensor]
"""f(y, g); splitting calls f(y, g, given), given being 0/1 for the entries of y that may be used."""


def measurement_consistency(
    estimate: Tensor,
    measurements: Tensor,
    operators: OperatorFamily,
    g: int | Tensor,
    normalise: Literal["all", "observed"] = "all",
) -> Tensor:
    """MC: mean (A_g x1 - y)^2.

    Args:
        estimate: x1, (B, C, H, W).
        measurements: y, (B, *measurement_shape).
        operators: the family.
        g: operator of each sample.
        normalise: over ``all`` entries, the zeros of masked measurements included, as published, so that the weight of
            MC against the other term falls with the share of observed entries; or over the ``observed`` ones.
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

    Args:
        g: (B,), operator of each sample.
        num_operators: G.
        per: one draw a sample, or one a batch as published (the same step from g to j for all, so in a batch of one
            operator one j).
        exclude_self: False draws from all operators, g included, as deepinv does.
        generator: of the draws.
    """
    count = len(g) if per == "sample" else 1
    if not exclude_self:
        return torch.randint(num_operators, (count,), generator=generator).to(g.device).expand(len(g))
    if num_operators < 2:
        raise UserError("there is no other operator: the cross-operator term needs G >= 2")
    step = torch.randint(1, num_operators, (count,), generator=generator).to(g.device)
    return (g + step) % num_operators


def cross_operator(
    estimate: Tensor,
    reconstruct: Reconstruct,
    operators: OperatorFamily,
    j: int | Tensor,
    noise: Noise | None = None,
    given: Tensor | None = None,
) -> Tensor:
    """MOI: mean (f(A_j x1, j) - x1)^2 (Tachella, Chen, Davies 2022).

    noise: added to the virtual measurements. given: the entries of them that f may use, all where None.
    """
    virtual = operators(estimate, j)
    if noise:
        virtual = noise(virtual, operators.observed(j))
    again = reconstruct(virtual, j) if given is None else reconstruct(virtual, j, given)
    return (again - estimate).square().mean()


def equivariance(
    transformed: Tensor,
    reconstruct: Reconstruct,
    operators: OperatorFamily,
    g: int | Tensor,
    noise: Noise | None = None,
) -> Tensor:
    """EI: mean (f(A_g T x1, g) - T x1)^2 (Chen, Tachella, Davies 2021); MO-EI where g are other operators.

    Args:
        transformed: T x1, the copies stacked along the batch; g repeats with them.
        reconstruct: f.
        operators: the family.
        g: operator of each sample.
        noise: added to the virtual measurements.
    """
    if isinstance(g, Tensor):
        g = g.repeat(len(transformed) // len(g))
    return cross_operator(transformed, reconstruct, operators, g, noise)


def supervised(estimate: Tensor, truth: Tensor) -> Tensor:
    """mean (x1 - x)^2."""
    return (estimate - truth).square().mean()


# Splitting -----------------------------------------------------------------------------------------------------------


def draw_splits(
    operators: OperatorFamily,
    g: Tensor,
    share: float | tuple[float, float],
    generator: torch.Generator | None = None,
    per: Literal["sample", "operator"] = "sample",
) -> Tensor:
    """Which observed entries the network is given: 0/1, each with probability ``share``.

    Args:
        operators: the family.
        g: (B,), operator of each sample.
        share: or a range, from which each draw takes its own share.
        generator: of the draws.
        per: fresh for every sample, or one draw for all samples of an operator, which networks that solve with A can
            then solve together.

    Returns:
        Broadcastable to the measurements: (B, m), or (B, 1, ...), shared by real and imaginary part or by colours.
    """
    count = len(g) if per == "sample" else operators.num_operators
    shape = (count, *operators.measurement_shape)
    if len(shape) > 2:
        shape = (shape[0], 1, *shape[2:])
    if isinstance(share, tuple):
        low, high = share
        shares: float | Tensor = low + (high - low) * torch.rand(count, *[1] * (len(shape) - 1), generator=generator)
    else:
        shares = share
    kept = (torch.rand(shape, generator=generator) < shares).to(g.device, torch.float32)
    kept = kept if per == "sample" else kept[g]
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


def splitting_weight(observed: Tensor, share: float) -> Tensor:
    """(1 - K)^(-1/2), K = (1 - P) / (1 - share P): what the left-out entries of a random mask are weighted by.

    With it, the minimiser of the splitting loss is the one of the loss on all entries (Millard and Chiew 2023).

    Args:
        observed: P, how often an entry is observed; the result has its shape.
        share: how often an observed entry is given to the network, the same for all.
    """
    return ((1 - share * observed) / (observed * (1 - share)).clamp_min(1e-9)).sqrt()


def weighted_splitting(
    estimate: Tensor, measurements: Tensor, operators: OperatorFamily, g: int | Tensor, target: Tensor, weight: Tensor
) -> Tensor:
    """Weighted SSDU: mean (weight target (A_g x1 - y))^2, weight from ``splitting_weight``."""
    return (weight * target * (operators(estimate, g) - measurements)).square().mean()


def robust_splitting(
    estimate: Tensor,
    measurements: Tensor,
    operators: OperatorFamily,
    g: int | Tensor,
    given: Tensor,
    weight: Tensor,
    alpha: float,
) -> Tensor:
    """Robust SSDU (Millard and Chiew 2024): x1 = f(given (y + alpha sigma w), g), w standard normal.

    Weighted splitting on what was not given, and mean ((1 + 1/alpha^2) given (A_g x1 - y))^2, which takes the noise
    off the rest.
    """
    target = operators.observed(g) - given
    again = (1 + 1 / alpha**2) * given * (operators(estimate, g) - measurements)
    return weighted_splitting(estimate, measurements, operators, g, target, weight) + again.square().mean()


def equivariant_splitting(
    estimate: Tensor, measurements: Tensor, operators: OperatorFamily, g: int | Tensor, given: Tensor
) -> Tensor:
    """Consistency with what was given and prediction of the rest, each a mean over its own entries (Sechaud et al. 2026).

    x1 = T f(given y, A_g T) for a random element T of a group that the model is invariant to.
    """
    rest = operators.observed(g) - given
    consistency, prediction = (splitting(estimate, measurements, operators, g, part) for part in (given, rest))
    return consistency + prediction


def recorrupt(measurements: Tensor, noise: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
    """R2R: (what f is given, its target), with independent noise (Pang et al. 2021).

    Args:
        measurements: y, with Gaussian noise of a standard deviation sigma.
        noise: new noise of the same kind.
        alpha: between 0 and 1; more of it gives f noisier and the target cleaner measurements.
    """
    noisier = measurements + (alpha / (1 - alpha)) ** 0.5 * noise
    return noisier, (measurements - (1 - alpha) * noisier) / alpha
