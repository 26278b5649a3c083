"""The published losses: maps, compressed time series and measurements, each a mean squared error."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from mrf_unroll.models.unrolled import Iterates


def map_loss(maps: Tensor, target: Tensor, weights: Sequence[float] = (1.0, 20.0, 2.5)) -> Tensor:
    """Weighted sum of the MSEs of T1, T2 and PD; maps, target: (B, 3, H, W), in s and arbitrary units."""
    errors = (maps - target).square().mean(dim=(0, 2, 3))
    return (errors * errors.new_tensor(weights)).sum()


def masked_map_loss(maps: Tensor, target: Tensor, mask: Tensor, weights: Sequence[float] = (1.0, 20.0, 2.5)) -> Tensor:
    """``map_loss`` over the voxels of mask (B, H, W), where there is something to relax, plus that of PD outside it."""
    inside = mask[:, None].to(maps.dtype)
    squares = (maps - target).square()
    within = (squares * inside).sum(dim=(0, 2, 3)) / inside.sum().clamp_min(1)
    outside = (squares[:, 2:] * (1 - inside)).sum() / (1 - inside).sum().clamp_min(1)
    return (within * within.new_tensor(weights)).sum() + weights[2] * outside


def tsmi_loss(tsmi: Tensor, target: Tensor) -> Tensor:
    """MSE over all elements of (B, s, H, W); of complex ones, the mean of |.|^2."""
    return (tsmi - target).abs().square().mean()


def measurement_loss(
    tsmi: Tensor, normal: Callable[[Tensor], Tensor], adjoint: Tensor, energy: Tensor, num_samples: int
) -> Tensor:
    """|A x - y|^2 over the number of real values in y, from <x, A^H A x> - 2 Re<x, h> + |y|^2: no NUFFT is needed.

    tsmi x, adjoint h = A^H W y: (B, s, H, W).

    Equal to the MSE over real and imaginary parts of all samples, as published.

    Args:
        energy: (B,), |y|^2 (with W, of sqrt(W) y) an item.
        num_samples: complex samples an item.
    """
    quadratic = _inner(tsmi, normal(tsmi)) - 2 * _inner(tsmi, adjoint) + energy
    return quadratic.mean() / (2 * num_samples)


def _inner(a: Tensor, b: Tensor) -> Tensor:
    """Re<a, b> an item; the terms nearly cancel near a solution, hence float64."""
    product = (a.conj() * b).real if a.is_complex() else a * b
    return product.flatten(1).double().sum(dim=1)


class LossTerms(NamedTuple):
    """``total`` and its parts before weighting (``maps`` has its three weights inside)."""

    total: Tensor
    maps: Tensor
    tsmi: Tensor
    measurements: Tensor


class ProxNetLoss(NamedTuple):
    """The loss of PGD-Net: weights of T1, T2, PD; of the last x_t; of the measurements of all x_t.

    Args:
        intermediate: weight of the map and time series losses of every earlier iterate (0 as published).
        masked: the errors of T1 and T2 count inside the object alone, for encoders whose T1 and T2 are never 0; as
            published they count everywhere.
    """

    map_weights: Sequence[float] = (1.0, 20.0, 2.5)
    tsmi_weight: float = 0.001
    measurement_weight: float = 0.01
    intermediate: float = 0.0
    masked: bool = False

    def __call__(
        self,
        iterates: Iterates,
        maps: Tensor,
        tsmi: Tensor,
        normal: Callable[[Tensor], Tensor],
        adjoint: Tensor,
        energy: Tensor,
        num_samples: int,
        scale: Tensor | float = 1.0,
        mask: Tensor | None = None,
    ) -> LossTerms:
        """maps (B, 3, H, W) and tsmi (B, s, H, W): the truth; the rest as in ``measurement_loss``, without noise.

        scale: of the decoder; time series and measurements are compared in its units. mask: (B, H, W), where ``masked``.
        """

        def of_maps(found: Tensor) -> Tensor:
            if self.masked:
                assert mask is not None
                return masked_map_loss(found, maps, mask, self.map_weights)
            return map_loss(found, maps, self.map_weights)

        last = of_maps(iterates.maps[-1])
        series = tsmi_loss(iterates.tsmi[-1] / scale, tsmi / scale)
        measured = torch.zeros((), device=maps.device)
        if self.measurement_weight:
            terms = [measurement_loss(x, normal, adjoint, energy, num_samples) for x in iterates.tsmi]
            measured = (torch.stack(terms).mean() / scale**2).to(last.dtype)
        total = last + self.tsmi_weight * series + self.measurement_weight * measured
        for m, x in zip(iterates.maps[:-1], iterates.tsmi[:-1], strict=True) if self.intermediate else ():
            total = total + self.intermediate * (of_maps(m) + self.tsmi_weight * tsmi_loss(x / scale, tsmi / scale))
        return LossTerms(total, last, series, measured)
