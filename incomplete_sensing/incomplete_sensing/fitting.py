"""Methods that are fitted in closed form or by EM, not trained by gradients; and where learners that start from them start.

All are a ``MixtureMean``: mean (the mean of the measurements' signals, made consistent with y); gaussian, stationary (a
Gaussian whose covariance is one of displacements) and mixture (EM from the measurements); and linear, the best linear
estimator, which is given the truth.
"""

from __future__ import annotations

import torch
from torch import Tensor

from incomplete_sensing import mixture
from incomplete_sensing.mixture import Mixture, Seen
from incomplete_sensing.models import ConsistentNetwork, MixtureMean
from incomplete_sensing.objective import FITTED, Method
from incomplete_sensing.operators import OperatorFamily
from shared_utils import UserError


def by_operator(operators: OperatorFamily, measurements: Tensor, g: Tensor) -> list[Seen]:
    """Measurements (N, *measurement_shape) as EM takes them, an operator at a time; float64 where images are small."""
    rows = operators.observed_rows
    values, kind = rows.take(measurements, g), torch.float64 if operators.num_pixels <= 256 else torch.float32
    parts = []
    for operator in g.unique().tolist():
        seen = rows.observed[operator] > 0
        parts.append(Seen(rows.matrices[operator][seen].to(kind), values[g == operator][:, seen].to(kind)))
    return parts


def fit(
    network: MixtureMean,
    method: Method,
    operators: OperatorFamily,
    measurements: Tensor,
    g: Tensor,
    truth: Tensor | None,
    strength: float,
    rank: int | None,
    iterations: int,
    seed: int,
    pooled: int = 1,
    stationary: bool = False,
) -> None:
    """Fit a network's mixture: as the method says, or for a learner as many components as it has.

    Args:
        network: changed in place.
        method: one of ``objective.FITTED``, or another one, whose network then starts from the fit.
        operators: the family.
        measurements: (N, *measurement_shape).
        g: (N,).
        truth: (N, C, H, W), for linear alone.
        strength: see ``mixture.fit_mixture``.
        rank: the same.
        iterations: of EM for several components; the Gaussian takes 60, the stationary one 20.
        seed: the same.
        pooled: so many fits, from the seed on, share the network's components, and are pooled.
        stationary: a learner of one component starts from the stationary Gaussian.

    Raises:
        UserError: the method needs the truth, the components cannot be shared by so many fits, or a stationary start
            has several.
    """
    if pooled < 1 or network.components % pooled:
        raise UserError(f"{network.components} components cannot be shared by {pooled} fits: give a multiple of pooled")
    data = by_operator(operators, measurements, g)
    noise = network.noise
    if method == "linear":
        if truth is None:
            raise UserError("method linear needs the truth (data.truth: true)")
        network.start_from(mixture.complete_gaussian(truth.flatten(1).to(data[0].values), noise))
    elif method == "mean" or (isinstance(network, ConsistentNetwork) and network.learned):
        mean = mixture.fit_mean(data)
        identity = torch.eye(len(mean), dtype=mean.dtype, device=mean.device)
        network.start_from(Mixture(mean.new_ones(1), mean[None], identity[None], noise))
    elif method == "stationary" or (stationary and method not in FITTED):
        if network.components > 1:
            raise UserError(f"a stationary Gaussian is one component, not {network.components}: give components: 1")
        network.start_from(mixture.fit_stationary(data, operators.image_shape, noise))
    else:
        found = mixture.fit_gaussian(data, noise)
        if network.components > 1 and method != "gaussian":
            each = network.components // pooled
            seeds = range(seed, seed + pooled)
            found = mixture.pool(
                [mixture.fit_mixture(data, found, each, strength, iterations, rank, one) for one in seeds]
            )
        network.start_from(found)
