"""How far an adversarial cloud is from the clean one, and how often attacks succeed.

Distances take clouds (B, N, 3) against (B, M, 3) and return (B,). They are computed from coordinate differences in
float64, so that a cloud against itself gives exactly 0. Those that follow points (``l2``, ``linf``, ``moved``) need
N == M and the same order; the others do not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypedDict

import torch
from torch import Tensor

from si_adv.geometry import estimate_normals, gather, knn
from si_adv.losses import curvature_from_neighbours

# The published L2 takes the mean over coordinates and multiplies with this, whatever the number of points.
_PUBLISHED_COORDINATES = 3072
_MOVED = 1e-6
_CURVATURE_NEIGHBOURS = 16
#: The normals that tables measure out-of-surface motion by, where there is only a cloud: of a neighbourhood that no attack
#: uses (``attacks.budgets.check``), for the normals that an attack moved along are blind to what it did.
MEASURED_NEIGHBOURS = 12
_OUTLIER_NEIGHBOURS = 2
_OUTLIER_ALPHA = 1.1


# Displacement of corresponding points --------------------------------------------------------------------------------


def _displacement(adv: Tensor, clean: Tensor) -> Tensor:
    if adv.shape != clean.shape:
        raise ValueError(f"clouds of corresponding points are needed, got {tuple(adv.shape)} and {tuple(clean.shape)}")
    return adv.double() - clean.double()


def l2(adv: Tensor, clean: Tensor) -> Tensor:
    """Length of the whole displacement, sqrt(sum of squares)."""
    return _displacement(adv, clean).square().sum((1, 2)).sqrt().to(adv.dtype)


def l2_published(adv: Tensor, clean: Tensor) -> Tensor:
    """sqrt(mean squared coordinate difference * 3072): the published "MSE Dist"; equals ``l2`` at 1024 points."""
    return (_displacement(adv, clean).square().mean((1, 2)) * _PUBLISHED_COORDINATES).sqrt().to(adv.dtype)


def linf(adv: Tensor, clean: Tensor) -> Tensor:
    """Largest change of a coordinate."""
    return _displacement(adv, clean).abs().amax((1, 2)).to(adv.dtype)


def moved(adv: Tensor, clean: Tensor) -> Tensor:
    """Number of points displaced by more than 1e-6."""
    return (torch.linalg.vector_norm(_displacement(adv, clean), dim=-1) > _MOVED).sum(1)


# Distances between sets ----------------------------------------------------------------------------------------------


def _nearest(points: Tensor, reference: Tensor) -> tuple[Tensor, Tensor]:
    """Squared distance (B, N) float64 to the nearest reference point, and its index (B, N)."""
    _, indices = knn(points, reference, 1)
    indices = indices[..., 0]
    return (points.double() - gather(reference.double(), indices)).square().sum(-1), indices


def chamfer(adv: Tensor, clean: Tensor) -> Tensor:
    """Mean of the two directional means of the squared nearest distance (half of pytorch3d's value)."""
    return ((_nearest(adv, clean)[0].mean(1) + _nearest(clean, adv)[0].mean(1)) / 2).to(adv.dtype)


def hausdorff(adv: Tensor, clean: Tensor) -> Tensor:
    """Published: mean of the two directional maxima of the squared nearest distance."""
    return ((_nearest(adv, clean)[0].amax(1) + _nearest(clean, adv)[0].amax(1)) / 2).to(adv.dtype)


def hausdorff_true(adv: Tensor, clean: Tensor) -> Tensor:
    """The Hausdorff distance: largest nearest distance of either direction, not squared."""
    return torch.maximum(_nearest(adv, clean)[0].amax(1), _nearest(clean, adv)[0].amax(1)).sqrt().to(adv.dtype)


# Shape ---------------------------------------------------------------------------------------------------------------


def surface(adv: Tensor, clean: Tensor, normals: Tensor) -> Tensor:
    """Out-of-surface motion: mean |(p' - c) . m|, c the nearest clean point and m its unit normal (either sign)."""
    return _surface(adv, clean, normals, _nearest(adv, clean)[1]).mean(1).to(adv.dtype)


def _surface(adv: Tensor, clean: Tensor, normals: Tensor, nearest: Tensor) -> Tensor:
    """(B, N), a value a point."""
    motion = adv.double() - gather(clean.double(), nearest)
    return (motion * gather(normals.double(), nearest)).sum(-1).abs()


def curvature(adv: Tensor, clean: Tensor, normals: Tensor, k: int = _CURVATURE_NEIGHBOURS) -> Tensor:
    """Mean squared change of local curvature against the nearest clean point (GeoA3)."""
    _, adv_neighbours = knn(adv, adv, k + 1)
    _, clean_neighbours = knn(clean, clean, k + 1)
    nearest = _nearest(adv, clean)[1]
    return _curvature(adv, clean, normals, nearest, adv_neighbours, clean_neighbours).mean(1).to(adv.dtype)


def _curvature(
    adv: Tensor, clean: Tensor, normals: Tensor, nearest: Tensor, adv_neighbours: Tensor, clean_neighbours: Tensor
) -> Tensor:
    """(B, N), a value a point."""
    normals = normals.double()
    before = curvature_from_neighbours(clean.double(), normals, clean_neighbours)
    after = curvature_from_neighbours(adv.double(), gather(normals, nearest), adv_neighbours)
    return (after - before.gather(1, nearest)).square()


def over_points(name: str, values: Tensor) -> dict[str, Tensor]:
    """Mean, 99th percentile and maximum (B,) of a distance (B, N) a point: ``name``, ``name_p99`` and ``name_max``."""
    return {name: values.mean(1), f"{name}_p99": values.quantile(0.99, dim=1), f"{name}_max": values.amax(1)}


def outliers(points: Tensor) -> Tensor:
    """Number of points that SOR (k 2, alpha 1.1) rejects: above the cloud's own mean + 1.1 standard deviations.

    Not a measure of quality: a few far points raise the threshold, and fewer are rejected than in the clean cloud.
    """
    strays = _stray(points, knn(points, points, _OUTLIER_NEIGHBOURS + 1)[1])
    return (strays > _stray_threshold(strays)).sum(1)


def outliers_clean_threshold(adv: Tensor, clean: Tensor) -> Tensor:
    """Number of adversarial points beyond the SOR threshold of the clean cloud."""
    adv_strays = _stray(adv, knn(adv, adv, _OUTLIER_NEIGHBOURS + 1)[1])
    clean_strays = _stray(clean, knn(clean, clean, _OUTLIER_NEIGHBOURS + 1)[1])
    return (adv_strays > _stray_threshold(clean_strays)).sum(1)


def _stray(points: Tensor, neighbours: Tensor) -> Tensor:
    """Mean squared distance to the two nearest others, (B, N) float64; neighbours: (B, N, 3 or more), itself first."""
    points = points.double()
    others = gather(points, neighbours[..., 1 : _OUTLIER_NEIGHBOURS + 1])
    return (others - points[:, :, None]).square().sum(-1).mean(-1)


def _stray_threshold(strays: Tensor) -> Tensor:
    return strays.mean(1, keepdim=True) + _OUTLIER_ALPHA * strays.std(1, keepdim=True)


def distances(adv: Tensor, clean: Tensor, normals: Tensor | None = None) -> dict[str, Tensor]:
    """Every distance of this module by name, with the neighbour searches they share done once.

    Args:
        adv: (B, N, 3).
        clean: (B, N, 3), corresponding points.
        normals: unit normals of the clean clouds, estimated where not given.

    Returns:
        (B,) by name.
    """
    normals = estimate_normals(clean) if normals is None else normals
    forward, nearest = _nearest(adv, clean)
    backward, _ = _nearest(clean, adv)
    neighbours = min(_CURVATURE_NEIGHBOURS, clean.shape[1] - 1) + 1
    adv_neighbours, clean_neighbours = knn(adv, adv, neighbours)[1], knn(clean, clean, neighbours)[1]
    adv_strays, clean_strays = _stray(adv, adv_neighbours), _stray(clean, clean_neighbours)
    values = {
        "l2": l2(adv, clean),
        "l2_published": l2_published(adv, clean),
        "chamfer": (forward.mean(1) + backward.mean(1)) / 2,
        "hausdorff": (forward.amax(1) + backward.amax(1)) / 2,
        "hausdorff_true": torch.maximum(forward.amax(1), backward.amax(1)).sqrt(),
        **over_points("surface", _surface(adv, clean, normals, nearest)),
        **over_points("curvature", _curvature(adv, clean, normals, nearest, adv_neighbours, clean_neighbours)),
        "linf": linf(adv, clean),
        "moved": moved(adv, clean),
        "outliers": (adv_strays > _stray_threshold(adv_strays)).sum(1),
        "outliers_clean_threshold": (adv_strays > _stray_threshold(clean_strays)).sum(1),
    }
    return {name: value.to(adv.dtype) if value.is_floating_point() else value for name, value in values.items()}


# Success -------------------------------------------------------------------------------------------------------------


def wilson_interval(successes: int, total: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a rate; (0, 1) when there were no trials."""
    from scipy.stats import binomtest

    if not 0 <= successes <= total:
        raise ValueError(f"successes must lie in 0..total, got {successes} of {total}")
    if total == 0:
        return 0.0, 1.0
    interval = binomtest(successes, total).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)


class SuccessRates(TypedDict):
    """See ``success_rates``; intervals are (low, high)."""

    asr: float
    asr_interval: tuple[float, float]
    num_attacked: int
    asr_all: float
    asr_all_interval: tuple[float, float]
    num_clouds: int


def success_rates(success: Tensor, attacked: Tensor) -> SuccessRates:
    """Attack success rate with its 95% interval, on both denominators.

    Args:
        success: (B,) bool.
        attacked: (B,) bool, the clouds that were not successes before the attack.

    Returns:
        ``asr`` is over the attacked clouds alone (the number to quote), ``asr_all`` over all clouds (the published one).
    """
    total, num_attacked = len(success), int(attacked.sum())
    fooled, fooled_all = int((success & attacked).sum()), int(success.sum())
    return {
        "asr": fooled / num_attacked if num_attacked else math.nan,
        "asr_interval": wilson_interval(fooled, num_attacked),
        "num_attacked": num_attacked,
        "asr_all": fooled_all / total if total else math.nan,
        "asr_all_interval": wilson_interval(fooled_all, total),
        "num_clouds": total,
    }


def success_within(success: Tensor, queries: Tensor, budgets: Sequence[int] | Tensor) -> Tensor:
    """Share of clouds fooled with at most so many queries, (len(budgets),): the curve of ASR over queries."""
    budgets = torch.as_tensor(budgets, device=queries.device)
    return (success & (queries <= budgets[:, None])).double().mean(1).float()
