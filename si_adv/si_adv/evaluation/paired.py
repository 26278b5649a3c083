"""Attacks on the same clouds, compared cloud by cloud, with intervals by resampling the clouds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from si_adv.evaluation.experiment import Runs

Columns = dict[str, list[Any]]
"""Of ``per_cloud``: values by name of the column, a row a cloud and run."""

#: What attacks are compared by; as far as it was measured.
COMPARED = ("true_surface", "true_surface_max", "surface", "surface_max", "curvature", "l2", "chamfer", "hausdorff")
_REPLICATES = 2000


def per_cloud(runs: Runs) -> Columns:
    """One row a victim, attack, seed and cloud: whether it was attacked and fooled, and every distance."""
    names = sorted({name for arrays in runs.values() for name in arrays if name.startswith("distance_")})
    columns: Columns = {name: [] for name in ("victim", "attack", "seed", "id", "attacked", "success")}
    columns |= {name.removeprefix("distance_"): [] for name in names}
    for (victim, attack, seed), arrays in runs.items():
        count = len(arrays["id"])
        rows = {"victim": [victim] * count, "attack": [attack] * count, "seed": [seed] * count}
        rows |= {"id": arrays["id"].tolist(), "attacked": (~arrays["initial_success"]).tolist()}
        rows["success"] = arrays["success"].tolist()
        for name in names:
            rows[name.removeprefix("distance_")] = arrays[name].tolist() if name in arrays else [None] * count
        for name, values in rows.items():
            columns[name] += values
    return columns


def pairs(columns: Mapping[str, Sequence[Any]], ours: str, other: str, values: str) -> dict[str, np.ndarray]:
    """Two attacks on the clouds that both attacked, summed by cloud: a cloud met in several runs is one draw.

    Args:
        columns: of ``per_cloud``.
        ours, other: the attacks.
        values: the column to compare on.

    Returns:
        A row a cloud: ``count`` of runs, ``ours_only`` and ``other_only`` fooled; and over the runs in which both fooled it
        ``fooled`` (their count), the sums ``ours`` and ``other`` of the values, and ``wins`` (smaller by ours).
    """
    found: dict[tuple, dict[str, tuple[bool, float]]] = {}
    names = ("victim", "attack", "seed", "id", "attacked", "success", values)
    for victim, attack, seed, cloud, attacked, success, value in zip(*(columns[name] for name in names), strict=True):
        if attacked and attack in (ours, other):
            value = math.nan if value is None else float(value)
            found.setdefault((victim, seed, cloud), {})[attack] = (bool(success), value)
    sums: dict[int, np.ndarray] = {}
    for (_, _, cloud), both in found.items():
        if len(both) < 2:
            continue
        (first, a), (second, b) = both[ours], both[other]
        fooled = first and second
        row = np.array([1, first > second, second > first, fooled, *((a, b, a < b) if fooled else (0, 0, 0))], float)
        sums[cloud] = sums.get(cloud, 0) + row
    table = np.array(list(sums.values())).reshape(-1, 7)
    return dict(zip(("count", "ours_only", "other_only", "fooled", "ours", "other", "wins"), table.T, strict=True))


def resampling(clouds: int, replicates: int = _REPLICATES, seed: int = 0) -> np.ndarray:
    """How often each of the clouds is drawn, with replacement, in every replicate: (replicates, clouds)."""
    return np.random.default_rng(seed).multinomial(clouds, np.full(clouds, 1 / max(clouds, 1)), size=replicates)


def ratio_interval(above: np.ndarray, below: np.ndarray, weights: np.ndarray) -> tuple[float, float, float]:
    """Ratio of two sums over clouds, and its 95% bootstrap interval; NaN where nothing is below."""
    if not below.sum() > 0:
        return math.nan, math.nan, math.nan
    totals = weights @ below
    low, high = np.quantile((weights @ above)[totals > 0] / totals[totals > 0], (0.025, 0.975))
    return float(above.sum() / below.sum()), float(low), float(high)


def difference_interval(gained: float, lost: float, total: float) -> tuple[float, float, float]:
    """Difference of two success rates on the same clouds, and its 95% interval (Agresti and Min 2005).

    Half a cloud is added to each of the four outcomes, so that the interval has a width where all clouds agree.

    Args:
        gained: clouds that the first attack fools and the second does not.
        lost: the other way round.
        total: all of them.
    """
    size = total + 2
    middle = (gained - lost) / size
    width = 1.96 * math.sqrt(max(gained + lost + 1 - size * middle**2, 0)) / size
    return (gained - lost) / total if total else math.nan, max(middle - width, -1.0), min(middle + width, 1.0)


def paired_table(columns: Mapping[str, Sequence[Any]], ours: str = "si_ifgm") -> list[dict[str, Any]]:
    """A row another attack and a column of ``COMPARED``, over the clouds that both fool, all runs pooled.

    ``ratio`` of the means, ours / other, and ``wins``, the share of clouds with the smaller value by ours; both with 95%
    intervals over resampled clouds.
    """
    rows = []
    attacks = list(dict.fromkeys(columns["attack"]))
    for other in attacks if ours in attacks else []:
        for name in COMPARED:
            if other == ours or name not in columns:
                continue
            both = pairs(columns, ours, other, name)
            fooled = int(both["fooled"].sum())
            if not fooled or not np.isfinite(both["ours"] + both["other"]).all():
                continue
            weights = resampling(len(both["count"]))
            ratio, low, high = ratio_interval(both["ours"], both["other"], weights)
            wins, wins_low, wins_high = ratio_interval(both["wins"], both["fooled"], weights)
            row = {"attack": ours, "against": other, "distance": name, "pairs": fooled, "clouds": len(both["count"])}
            row |= {"mean": both["ours"].sum() / fooled, "against mean": both["other"].sum() / fooled}
            row |= {"ratio": ratio, "ratio_low": low, "ratio_high": high}
            rows.append(row | {"wins": wins, "wins_low": wins_low, "wins_high": wins_high})
    return rows
