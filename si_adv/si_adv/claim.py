"""The paper's claim, compared with the runs of ``attack --compare``."""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from shared_utils import UserError, files, work
from shared_utils.claim import Claim, Figure, Table
from si_adv.evaluation import paired
from si_adv.evaluation.reports import CAPTIONS, PER_CLOUD
from si_adv.evaluation.tables import over_seeds

CLAIM = (
    "At the published step, box and number of steps, shape-invariant perturbations fool the victim as often as free ones "
    "(I-FGM) and leave the points nearer to the surface of the shape; random motion along the surface, though longer, fools it "
    "far less often. L2, Chamfer and Hausdorff distances are not claimed to fall."
)
# Bounds of the claim, each on a 95% interval: the loss of success rate allowed against I-FGM, the lead over random motion.
SUCCESS_SLACK, RANDOM_LEAD = 0.05, 0.5

# The attacks that the claim is about: the paper's, the free one, and chance along the surface.
DECIDING = ("si_ifgm", "ifgm", "random_tangent")
# Columns of the summary.
SUMMARY = (
    *(
        "attack",
        "asr",
        "asr_low",
        "asr_high",
        "true_surface",
        "true_surface_max",
        "surface",
        "surface_max",
        "curvature",
    ),
    *("l2", "chamfer", "hausdorff", "steps"),
)
_SIMULATIONS = 400


def can_judge(rows: Sequence[Mapping[str, Any]]) -> bool:
    """Whether some run (victim and seed) has the three attacks of the claim."""
    return bool(_complete(rows))


@dataclass(frozen=True)
class Decision:
    """The intervals that decide: (estimate, low, high) each."""

    surface: tuple[float, float, float]
    success: tuple[float, float, float]
    lead: tuple[float, float, float]

    @property
    def holds(self) -> bool:
        """All three: nearer to the surface, as often, and far more often than chance."""
        return self.surface[2] < 1 and self.success[1] >= -SUCCESS_SLACK and self.lead[1] >= RANDOM_LEAD


def decide(free: Mapping[str, np.ndarray], chance: Mapping[str, np.ndarray], weights: np.ndarray) -> Decision:
    """The verdict on pooled clouds.

    Args:
        free: ``paired.pairs`` of the attack and I-FGM.
        chance: of the attack and random motion along the surface.
        weights: of ``paired.resampling``, for the clouds of ``free``.
    """
    rates = [
        paired.difference_interval(*(float(each[name].sum()) for name in ("ours_only", "other_only", "count")))
        for each in (free, chance)
    ]
    return Decision(paired.ratio_interval(free["ours"], free["other"], weights), *rates)


def error_rates(free: Mapping[str, np.ndarray], chance: Mapping[str, np.ndarray], seed: int = 0) -> tuple[float, float]:
    """How often an experiment of this size shows the claim, over simulated ones.

    Returns:
        Where things are as measured, the clouds being drawn anew (the power); and where the attack and I-FGM do not differ,
        the two being exchanged at random on every cloud (the rate of false verdicts).
    """
    rng, size = np.random.default_rng(seed), len(free["count"])
    weights = paired.resampling(size, 500, seed + 1)
    exchanged = {"ours": "other", "other": "ours", "ours_only": "other_only", "other_only": "ours_only"}
    shown = np.zeros(2)
    for _ in range(_SIMULATIONS):
        drawn = rng.integers(size, size=size)
        anew = [{name: values[drawn] for name, values in each.items()} for each in (free, chance)]
        swap = rng.random(size) < 0.5
        null = {name: np.where(swap, free[exchanged.get(name, name)], values) for name, values in free.items()}
        shown += np.array([decide(anew[0], anew[1], weights).holds, decide(null, chance, weights).holds], float)
    return float(shown[0] / _SIMULATIONS), float(shown[1] / _SIMULATIONS)


def judge(rows: Sequence[Mapping[str, Any]], clouds: paired.Columns, figures: Sequence[Figure] = ()) -> Claim:
    """Whether all runs (victims and seeds) that have the three attacks of the claim show it, pooled.

    They do when, of 95% intervals over the clouds, that of the ratio of si_ifgm's distance from the surface to I-FGM's lies
    below one, that of ASR(si_ifgm) - ASR(ifgm) above -0.05, and that of ASR(si_ifgm) - ASR(random_tangent) above 0.5. The
    distance is that to the true surface where the shapes are known, else along normals that no attack used.

    Args:
        rows: of ``tables.attack_table``.
        clouds: of ``paired.per_cloud``.
        figures: to be shown with the claim.

    Raises:
        UserError: no run has the three attacks, or none of their clouds was attacked.
    """
    complete = _complete(rows)
    if not complete:
        raise UserError(
            f"the claim is about {', '.join(DECIDING)} on one victim and seed: make them by attack --compare"
        )
    runs = list(zip(clouds["victim"], clouds["seed"], strict=True))
    clouds = {
        name: [v for v, run in zip(values, runs, strict=True) if run in complete] for name, values in clouds.items()
    }
    true = all(value is not None for value in clouds.get("true_surface", [None]))
    measure = "true_surface" if true else "surface"
    free, chance = (paired.pairs(clouds, DECIDING[0], other, measure) for other in DECIDING[1:])
    if not len(free["count"]):
        raise UserError("the victim was wrong on every cloud before it was attacked: there is nothing to compare")
    decided = decide(free, chance, paired.resampling(len(free["count"])))
    power, false = error_rates(free, chance)
    kept = [row for row in rows if (row.get("victim", ""), row.get("seed", 0)) in complete]
    summary = over_seeds(kept, ["attack"])
    columns = [name for name in SUMMARY if any(name in row for row in summary)]
    what = "distance from the true surface" if true else "motion out of the surface (normals that no attack used)"
    return Claim(
        claim=CLAIM,
        holds=decided.holds,
        verdict=f"{len(complete)} runs pooled, {int(free['count'].sum())} attacks on {len(free['count'])} clouds: "
        f"{_interval(decided.surface)} of I-FGM's {what}, in {free['wins'].sum() / max(free['fooled'].sum(), 1):.0%} of the "
        f"pairs the smaller; success {_interval(decided.success, '+')} against I-FGM and {_interval(decided.lead, '+')} "
        f"against random motion (95% intervals). Of {_SIMULATIONS} simulated experiments of this size {power:.0%} show the "
        f"claim where things are as measured, and {false:.1%} where the two attacks do not differ.",
        tables=[
            Table("Run by run", _by_run(kept)),
            Table("The same clouds, paired, all runs pooled", paired.paired_table(clouds)),
            Table(
                f"All attacks, mean of {len(complete)} runs",
                [{name: row.get(name) for name in columns} for row in summary],
            ),
        ],
        figures=list(figures),
        seeds=sorted({int(seed) for _, seed in complete}),
    )


def _interval(values: tuple[float, float, float], sign: str = "") -> str:
    middle, low, high = values
    return f"{middle:{sign}.2f} ({low:{sign}.2f} to {high:{sign}.2f})"


def _complete(rows: Sequence[Mapping[str, Any]]) -> set[tuple[str, int]]:
    """The runs (victim, seed) that have the three attacks."""
    attacks: dict[tuple[str, int], set[str]] = {}
    for row in rows:
        attacks.setdefault((row.get("victim", ""), row.get("seed", 0)), set()).add(row["attack"])
    return {run for run, names in attacks.items() if set(DECIDING) <= names}


def _by_run(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What every run has of the three attacks."""
    runs: dict[tuple[str, int], dict[str, Mapping[str, Any]]] = {}
    for row in rows:
        runs.setdefault((row.get("victim", ""), row.get("seed", 0)), {})[row["attack"]] = row
    table = []
    for (victim, seed), by_attack in runs.items():
        ours, free, chance = (by_attack[name] for name in DECIDING)
        row = {"victim": victim, "seed": seed} | {f"asr {name}": by_attack[name]["asr"] for name in DECIDING}
        row["clean error"] = 1 - chance["attacked"] / chance["clouds"]
        for name in ("true_surface", "surface", "curvature"):
            if name in ours:
                row[f"{name} si/ifgm"] = ours[name] / free[name] if free[name] else math.nan
        table.append(row)
    return [{name: None if value != value else value for name, value in row.items()} for row in table]


def read_results(folder: str | Path) -> tuple[list[dict[str, Any]], paired.Columns, list[Figure]]:
    """The table, the clouds one by one, and the figures that ``attack`` left in its folder.

    Raises:
        UserError: there is no finished experiment.
    """
    folder = Path(folder)
    if not files.read_json(folder / work.DESCRIPTION, "description of an attack").get("finished"):
        raise UserError(f"{folder} holds an attack that is not finished: continue it with --resume")
    rows = files.read_json(folder / "table.json", "table of attacks")
    rows = [{name: math.nan if value is None else value for name, value in row.items()} for row in rows]
    clouds = files.read_json(folder / PER_CLOUD, "table of attacked clouds")
    return rows, clouds, [Figure(name, caption) for name, caption in CAPTIONS.items() if (folder / name).is_file()]


def copy_figures(source: str | Path, target: Path, figures: Sequence[Figure]) -> None:
    """Put the figures of a claim beside it, where that is another folder."""
    if target.resolve() == Path(source).resolve():
        return
    for figure in figures:
        with files.replacing(target / figure.file) as temporary:
            shutil.copyfile(Path(source) / figure.file, temporary)
