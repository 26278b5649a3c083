"""Tables of attacks: what a row says, the claim of the paper and whether a run bears it out."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from shared_utils import checkpoint, logging
from si_adv.metrics import success_rates

# What stands in the printed table; the csv and json have every column.
PRINTED = (
    "attack",
    "seed",
    "asr",
    "asr_all",
    "l2",
    "chamfer",
    "hausdorff",
    "surface",
    "queries",
    "steps",
    "cpu_seconds",
)

CLAIM = (
    "At the published step, box and number of steps, shape-invariant perturbations fool the victim as often as free ones "
    "(I-FGM), with a much smaller motion out of the surface; random motion along the surface, though longer, fools it about as "
    "often as it errs by itself. L2, Chamfer and Hausdorff distances are not claimed to fall."
)
# Bounds of the claim: the loss of success rate allowed, and the share of I-FGM's out-of-surface motion.
SUCCESS_SLACK, SURFACE_SHARE = 0.05, 0.6


def summarise(arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """One row of a table from the per-cloud arrays of ``comparison.attack_batch``.

    ``asr``: over the clouds that were not fooled before (the number to quote), with its 95% Wilson interval;
    ``asr_all``: over all clouds, as published. Distances are means over the attacked clouds; with the suffix
    ``_success`` over the successes alone. Queries and steps are means over the attacked clouds, failures at their full
    spend; their number is ``failures``.
    """
    success, attacked = arrays["success"], ~arrays["initial_success"]
    rates = success_rates(torch.from_numpy(success), torch.from_numpy(attacked))
    won = success & attacked

    def mean(name: str, rows: np.ndarray) -> float:
        return float(np.mean(arrays[name][rows])) if rows.any() else math.nan

    row: dict[str, Any] = {
        "clouds": rates["num_clouds"],
        "attacked": rates["num_attacked"],
        "asr": rates["asr"],
        "asr_low": rates["asr_interval"][0],
        "asr_high": rates["asr_interval"][1],
        "asr_all": rates["asr_all"],
        "failures": int((attacked & ~success).sum()),
    }
    for name in arrays:
        if name.startswith("distance_"):
            row[name.removeprefix("distance_")] = mean(name, attacked)
            row[name.removeprefix("distance_") + "_success"] = mean(name, won)
    row["queries"] = mean("queries", attacked)
    row["queries_median"] = float(np.median(arrays["queries"][attacked])) if attacked.any() else math.nan
    for name in ("steps", "undefined_normals", "seconds", "cpu_seconds"):
        row[name] = mean(name, attacked)
    return row


def over_seeds(rows: Sequence[dict[str, Any]], keys: Sequence[str]) -> list[dict[str, Any]]:
    """Rows with equal ``keys`` as one: the mean of every number, and the standard deviation as ``<name>_sd``."""
    grouped: dict[tuple, list[dict[str, Any]]] = {}
    for row in rows:
        grouped.setdefault(tuple(row[key] for key in keys), []).append(row)
    joined = []
    for names, members in grouped.items():
        row = dict(zip(keys, names, strict=True)) | {"runs": len(members)}
        for column, value in members[0].items():
            if isinstance(value, int | float) and not isinstance(value, bool) and column not in (*keys, "seed"):
                values = [member[column] for member in members]
                values = [value for value in values if not math.isnan(value)]
                row[column] = float(np.mean(values)) if values else math.nan
                if len(values) > 1:
                    row[f"{column}_sd"] = float(np.std(values, ddof=1))
        joined.append(row)
    return joined


def verdict(rows: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """Whether each run (victim and seed) that has the three attacks of the claim bears it out; None where none has.

    A run holds when ASR(si) >= ASR(ifgm) - 0.05, surface(si) <= 0.6 surface(ifgm), and the 95% interval of
    ASR(random_tangent) reaches down to the victim's error on the same clean clouds.

    Returns ``holds``, a sentence ``verdict``, and ``runs``: the numbers that decide, a row a run.
    """
    runs: dict[tuple, dict[str, dict[str, Any]]] = {}
    for row in rows:
        runs.setdefault((row.get("victim", ""), row.get("seed", 0)), {})[row["attack"]] = row
    decided = []
    for (victim, seed), by_attack in runs.items():
        if not {"si_ifgm", "ifgm", "random_tangent"} <= set(by_attack):
            continue
        ours, free, chance = (by_attack[name] for name in ("si_ifgm", "ifgm", "random_tangent"))
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
    if not decided:
        return None
    good = sum(run["holds"] == "yes" for run in decided)
    sentence = f"holds in {good} of {len(decided)} runs"
    return {"holds": good == len(decided), "verdict": sentence, "runs": decided}


def printed(rows: Sequence[dict[str, Any]], columns: Sequence[str] = PRINTED) -> str:
    """The columns of a table that fit a terminal; a column that no row has is left out."""
    shown = [name for name in columns if any(name in row for row in rows)]
    if len({row.get("victim") for row in rows}) > 1:
        shown = ["victim", *shown]
    return logging.table([_plain({name: row.get(name) for name in shown}) for row in rows])


def _plain(value: Any) -> Any:
    """NaN as None, all the way down: JSON has no NaN."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def write_tables(folder: Path, name: str, rows: Sequence[dict[str, Any]]) -> None:
    """``<name>.csv``, ``<name>.json`` and ``<name>.txt``, each written whole or not at all."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    with checkpoint.replacing(folder / f"{name}.csv") as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
    checkpoint.write_json(_plain(rows), folder / f"{name}.json")
    with checkpoint.replacing(folder / f"{name}.txt") as temporary:
        temporary.write_text(printed(rows) + "\n")


def write_claim(
    folder: Path, rows: Sequence[dict[str, Any]], decided: dict[str, Any], figures: list[dict[str, str]]
) -> None:
    """``claim.json``, from which the workspace makes its page of claims."""
    columns = ("attack", "asr", "asr_low", "asr_high", "l2", "chamfer", "hausdorff", "surface", "surface_sd", "steps")
    summary = over_seeds(rows, ["attack"])
    tables = [
        {"title": "The claim, run by run", "rows": decided["runs"]},
        {
            "title": f"All attacks, mean of {len(decided['runs'])} runs",
            "rows": [{name: row.get(name) for name in columns if name in row} for row in summary],
        },
    ]
    claim = {"claim": CLAIM, "holds": decided["holds"], "verdict": decided["verdict"], "tables": tables}
    seeds = [f"{run['victim']} {run['seed']}".strip() for run in decided["runs"]]
    checkpoint.write_json(_plain({**claim, "figures": figures, "seeds": seeds}), folder / "claim.json")
