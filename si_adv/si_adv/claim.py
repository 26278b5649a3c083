"""The paper's claim, compared with the runs of ``attack --compare``."""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from shared_utils import UserError, files, work
from shared_utils.claim import Claim, Figure, Table
from si_adv.evaluation.reports import CAPTIONS
from si_adv.evaluation.tables import over_seeds

CLAIM = (
    "At the published step, box and number of steps, shape-invariant perturbations fool the victim as often as free ones "
    "(I-FGM), with a much smaller motion out of the surface; random motion along the surface, though longer, fools it about as "
    "often as it errs by itself. L2, Chamfer and Hausdorff distances are not claimed to fall."
)
# Bounds of the claim: the loss of success rate allowed, and the share of I-FGM's out-of-surface motion.
SUCCESS_SLACK, SURFACE_SHARE = 0.05, 0.6

# The attacks that the claim is about: the paper's, the free one, and chance along the surface.
DECIDING = ("si_ifgm", "ifgm", "random_tangent")
# Columns of the summary.
SUMMARY = ("attack", "asr", "asr_low", "asr_high", "l2", "chamfer", "hausdorff", "surface", "surface_sd", "steps")


def can_judge(rows: Sequence[Mapping[str, Any]]) -> bool:
    """Whether some run (victim and seed) has the three attacks of the claim."""
    return bool(_decide(rows))


def judge(rows: Sequence[Mapping[str, Any]], figures: Sequence[Figure] = ()) -> Claim:
    """Whether every run (victim and seed) that has the three attacks of the claim shows it.

    A run does when ASR(si) >= ASR(ifgm) - 0.05, surface(si) <= 0.6 surface(ifgm), and the 95% interval of
    ASR(random_tangent) reaches down to the victim's error on the same clean clouds.

    Args:
        rows: of ``tables.attack_table``.
        figures: to be shown with the claim.

    Raises:
        UserError: no run has the three attacks.
    """
    decided = _decide(rows)
    if not decided:
        raise UserError(
            f"the claim is about {', '.join(DECIDING)} on one victim and seed: make them by attack --compare"
        )
    good = sum(run["holds"] == "yes" for run in decided)
    shares = [run["surface si/ifgm"] for run in decided]
    summary = over_seeds(rows, ["attack"])
    columns = [name for name in SUMMARY if any(name in row for row in summary)]
    return Claim(
        claim=CLAIM,
        holds=good == len(decided),
        verdict=f"{good} of {len(decided)} runs show it, with {min(shares):.2f} to {max(shares):.2f} of I-FGM's motion out of "
        "the surface.",
        tables=[
            Table("The claim, run by run", decided),
            Table(
                f"All attacks, mean of {len(decided)} runs",
                [{name: row.get(name) for name in columns} for row in summary],
            ),
        ],
        figures=list(figures),
        seeds=sorted({int(run["seed"]) for run in decided}),
    )


def _decide(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The numbers that decide, a row a run."""
    runs: dict[tuple, dict[str, Mapping[str, Any]]] = {}
    for row in rows:
        runs.setdefault((row.get("victim", ""), row.get("seed", 0)), {})[row["attack"]] = row
    decided = []
    for (victim, seed), by_attack in runs.items():
        if not set(DECIDING) <= set(by_attack):
            continue
        ours, free, chance = (by_attack[name] for name in DECIDING)
        share = ours["surface"] / free["surface"] if free["surface"] else math.nan
        error = 1 - chance["attacked"] / chance["clouds"]
        as_often = ours["asr"] >= free["asr"] - SUCCESS_SLACK
        holds = as_often and share <= SURFACE_SHARE and chance["asr_low"] <= error
        decided.append(
            {
                "victim": victim,
                "seed": seed,
                "asr si_ifgm": ours["asr"],
                "asr ifgm": free["asr"],
                "asr random_tangent": chance["asr"],
                "clean error": error,
                "surface si/ifgm": share,
                "holds": "yes" if holds else "no",
            }
        )
    return decided


def read_results(folder: str | Path) -> tuple[list[dict[str, Any]], list[Figure]]:
    """The table and the figures that ``attack`` left in its folder.

    Raises:
        UserError: there is no finished experiment.
    """
    folder = Path(folder)
    if not files.read_json(folder / work.DESCRIPTION, "description of an attack").get("finished"):
        raise UserError(f"{folder} holds an attack that is not finished: continue it with --resume")
    rows = files.read_json(folder / "table.json", "table of attacks")
    rows = [{name: math.nan if value is None else value for name, value in row.items()} for row in rows]
    return rows, [Figure(name, caption) for name, caption in CAPTIONS.items() if (folder / name).is_file()]


def copy_figures(source: str | Path, target: Path, figures: Sequence[Figure]) -> None:
    """Put the figures of a claim beside it, where that is another folder."""
    if target.resolve() == Path(source).resolve():
        return
    for figure in figures:
        with files.replacing(target / figure.file) as temporary:
            shutil.copyfile(Path(source) / figure.file, temporary)
