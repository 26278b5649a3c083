"""How many dimensions a data set has, by nearest neighbours: the k that the conditions ask for.

Both estimators need samples of the signals themselves; incomplete measurements alone only bound k from above, by the
numerical dimension of the A_g X. Both read low where the dimension is high and samples are few.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass

import numpy as np

from shared_utils import UserError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DimensionEstimate:
    """An estimate of k, and an interval that covers the estimators' disagreement and their sampling error (95 %).

    rows: one a method: its name, estimate and standard error.
    """

    k: float
    low: float
    high: float
    rows: tuple[tuple[str, float, float], ...]


def neighbour_distances(samples: np.ndarray, neighbours: int, chunk: int = 512) -> np.ndarray:
    """Distances (N, K) of every sample (N, n) to its K nearest others, ascending, in float64; memory O(chunk N)."""
    samples = np.asarray(samples, dtype=np.float64)
    squares = (samples**2).sum(axis=1)
    few = min(neighbours + 9, len(samples))
    distances = np.empty((len(samples), neighbours))
    for start in range(0, len(samples), chunk):
        rows = samples[start : start + chunk]
        rough = squares[None] - 2 * rows @ samples.T
        rough[np.arange(len(rows)), np.arange(start, start + len(rows))] = np.inf
        near = np.argpartition(rough, few - 2, axis=1)[:, : few - 1]
        # The expanded squares cancel for close pairs: the candidates are measured by differences.
        exact = np.stack([((samples[places] - row) ** 2).sum(axis=1) for places, row in zip(near, rows, strict=True)])
        distances[start : start + len(rows)] = np.sqrt(np.sort(exact, axis=1)[:, :neighbours])
    return distances


def _mle(distances: np.ndarray) -> tuple[float, float]:
    inverse = np.log(distances[:, -1:] / distances[:, :-1]).mean(axis=1)
    mean = inverse.mean()
    return 1 / mean, inverse.std(ddof=1) / math.sqrt(len(inverse)) / mean**2


def _two_nn(distances: np.ndarray, drop: float) -> tuple[float, float]:
    ratios = np.sort(np.log(distances[:, 1] / distances[:, 0]))
    kept = int(len(ratios) * (1 - drop))
    ranks = np.arange(1, kept + 1) / len(ratios)
    slope = float((ratios[:kept] * -np.log1p(-ranks)).sum() / (ratios[:kept] ** 2).sum())
    return slope, slope / math.sqrt(kept)


def mle_dimension(samples: np.ndarray, neighbours: int = 10) -> float:
    """Maximum likelihood by the K nearest neighbours, inverses averaged: 1 / mean_i [sum_{q<K} log(r_K/r_q) / (K-1)].

    samples: (N, n), N > K, all different. Source: Levina and Bickel (2004), averaged as MacKay and Ghahramani (2005).
    """
    return _mle(neighbour_distances(_distinct(samples, neighbours), neighbours))[0]


def two_nn_dimension(samples: np.ndarray, drop: float = 0.1) -> float:
    """Slope through the origin of -log(1 - F) on log(r_2/r_1), the largest share ``drop`` of the ratios left out.

    samples: (N, n), N >= 3, all different. Source: Facco, d'Errico, Rodriguez, Laio (2017), F = rank/N.
    """
    return _two_nn(neighbour_distances(_distinct(samples, 2), 2), drop)[0]


def estimate_dimension(samples: np.ndarray, neighbours: tuple[int, ...] = (5, 10, 20)) -> DimensionEstimate:
    """k of a data set (N, n): the mean of the likelihood estimates for each K and of TwoNN, with an interval.

    The interval runs from the lowest estimate minus 1.96 standard errors to the highest plus as much: how far the
    methods differ is usually more than what sampling explains.

    Raises:
        UserError: there are too few samples, NaN, or all samples are equal.
    """
    samples = _distinct(samples, max(neighbours))
    distances = neighbour_distances(samples, max(neighbours))
    rows = [(f"MLE, {count} neighbours", *_mle(distances[:, :count])) for count in neighbours]
    rows.append(("TwoNN", *_two_nn(distances, 0.1)))
    return DimensionEstimate(
        k=float(np.mean([estimate for _, estimate, _ in rows])),
        low=float(min(estimate - 1.96 * error for _, estimate, error in rows)),
        high=float(max(estimate + 1.96 * error for _, estimate, error in rows)),
        rows=tuple((name, float(estimate), float(error)) for name, estimate, error in rows),
    )


def _distinct(samples: np.ndarray, neighbours: int) -> np.ndarray:
    """The different samples as float64 (N, n); repeated ones have no neighbour ratios and are left out, with one warning."""
    samples = np.asarray(samples, dtype=np.float64)
    if samples.ndim != 2:
        raise UserError(f"samples of shape {samples.shape}: expected (N, n), one signal a row")
    if not np.isfinite(samples).all():
        raise UserError(f"{int((~np.isfinite(samples)).any(axis=1).sum())} samples hold NaN or infinity: remove them")
    different = np.unique(samples, axis=0, return_index=True)[1]
    if len(different) < len(samples):
        log.warning("%d of %d samples repeat another one and are left out", len(samples) - len(different), len(samples))
    if len(different) <= neighbours:
        raise UserError(f"{len(different)} different samples: {neighbours} neighbours need at least {neighbours + 1}")
    return samples[np.sort(different)]
