"""What the paper claims, compared with what the pipelines measured on the procedural default."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rmoe.pipelines import ROWS, WORLDS
from shared_utils import UserError, claim, cli
from shared_utils.claim import Claim, Figure, Finding, Table, of_findings, write_judged

RESULTS = "results.json"
TIE = 1.0
"""Points of mIoU by which a row may lie below another, on average over the seeds, and still count as not worse."""
EXTRA, CONVERTED = 0.03, 1e-5
CONTROL_SHARE = 0.25
"""Of the gain of RMoE-D over dense, what the control (one rule for all domains) may show at most."""

CLAIM = (
    "Residual experts on a dense pre-trained model give most of what a mixture pre-trained as one gives, at almost the "
    "dense model's cost: with every pipeline tuned over the same rates, mIoU rises from scratch over dense to RMoE-D in "
    f"every seed, RMoE-D is at most {TIE:g} point above RMoE-I and RMoE-I at most {TIE:g} point above the MoE pre-trained "
    "as one (paired means); the gain over dense needs rules that depend on the input; conversion changes no output; and a "
    "pass costs less than 3 % more operations than the dense one."
)


def read_results(folder: str | Path) -> dict[str, Any]:
    """What ``pipeline`` has written.

    Raises:
        UserError: it is not there, or not whole.
    """
    keys = {"plan", "rows", "grid", "conversion"}
    return claim.read_results(Path(folder) / RESULTS, "pipeline", cli.command("pipeline"), keys)


def row_of(results: dict[str, Any], row: str, steps: int, world: str = "rules") -> dict[str, Any] | None:
    """One row of the results; None where it was not run."""
    found = (r for r in results["rows"] if (r["row"], r["steps"], r["world"]) == (row, steps, world))
    return next(found, None)


def required(results: dict[str, Any], row: str, steps: int, world: str = "rules") -> dict[str, Any]:
    """One row of the results.

    Raises:
        UserError: it was not run.
    """
    found = row_of(results, row, steps, world)
    if found is None:
        raise UserError(f"the pipelines have no {row} at {steps} steps ({WORLDS[world][0]}): run them all")
    return found


def differences(results: dict[str, Any], low: str, high: str, steps: int, world: str = "rules") -> np.ndarray:
    """Points of mIoU by which ``high`` is above ``low``, seed by seed.

    Raises:
        UserError: one of them was not run.
    """
    below, above = (row_of(results, row, steps, world) for row in (low, high))
    if below is None or above is None:
        missing = [row for row, found in ((low, below), (high, above)) if found is None]
        raise UserError(
            f"the pipelines have no {', '.join(missing)} at {steps} steps ({WORLDS[world][0]}): run them all"
        )
    return 100 * (np.array(above["miou"]) - np.array(below["miou"]))


def _seeds(values: np.ndarray) -> str:
    return f"{values.mean():+.1f} ({', '.join(f'{value:+.1f}' for value in values)})"


def _title(row: str) -> str:
    return ROWS[row].title


def above(results: dict[str, Any], low: str, high: str, steps: int) -> Finding:
    """Whether ``high`` is above ``low`` in every seed."""
    gain = differences(results, low, high, steps)
    return Finding(bool((gain > 0).all()), f"{_title(high)} - {_title(low)} {_seeds(gain)} at {steps} steps")


def not_below(results: dict[str, Any], low: str, high: str, steps: int) -> Finding:
    """Whether ``high`` is at most ``TIE`` points below ``low`` on average over the seeds."""
    gain = differences(results, low, high, steps)
    return Finding(bool(gain.mean() >= -TIE), f"{_title(high)} - {_title(low)} {_seeds(gain)} at {steps} steps")


def control(results: dict[str, Any], steps: int) -> Finding:
    """Whether the gain over dense disappears where one rule holds for all domains."""
    gain = differences(results, "dense", "rmoe_d", steps)
    without = differences(results, "dense", "rmoe_d", steps, "one_rule")
    holds = abs(without.mean()) <= CONTROL_SHARE * gain.mean()
    return Finding(bool(holds), f"with one rule for all domains RMoE-D - dense is {_seeds(without)} at {steps} steps")


def operations(results: dict[str, Any], steps: int) -> Finding:
    """Whether a pass costs less than 3 % more."""
    dense, converted = (required(results, row, steps)["forward flops"] for row in ("dense", "rmoe_d"))
    extra = converted / dense - 1
    return Finding(0 <= extra < EXTRA, f"{100 * extra:.1f} % more operations a pass than dense")


def findings(results: dict[str, Any]) -> list[Finding]:
    """Every part of the claim, at every budget of downstream steps.

    Raises:
        UserError: a row that the claim is about was not run.
    """
    budgets = results["plan"]["downstream_steps"]
    found = [above(results, "scratch", "dense", budgets[0])]
    for steps in budgets:
        found.append(above(results, "dense", "rmoe_d", steps))
        found.append(not_below(results, "rmoe_d", "rmoe_i", steps))
        found.append(not_below(results, "rmoe_i", "moe", steps))
        found.append(control(results, steps))
    error = results["conversion"]
    found.append(
        Finding(error is not None and error <= CONVERTED, f"conversion changes outputs by at most {error:.1e}")
    )
    found.append(operations(results, budgets[0]))
    return found


def quality_table(results: dict[str, Any], steps: int) -> list[dict[str, Any]]:
    """mIoU of every row of every world at one budget."""
    rows = []
    for found in results["rows"]:
        if found["steps"] != steps:
            continue
        scores = 100 * np.array(found["miou"])
        accuracy = found["upstream accuracy"]
        rows.append(
            {
                "data": WORLDS[found["world"]][0],
                "pipeline": _title(found["row"]),
                "mIoU": round(float(scores.mean()), 1),
                "sd": round(float(scores.std(ddof=1)), 1) if len(scores) > 1 else None,
                "by seed": " ".join(f"{score:.1f}" for score in scores),
                "rate": found["rate"],
                "upstream accuracy": None if accuracy is None else " ".join(f"{100 * a:.0f}" for a in accuracy),
            }
        )
    return rows


def cost_table(results: dict[str, Any], steps: int) -> list[dict[str, Any]]:
    """What the rows cost, as measured here, and the paper's own figures in a column of theirs."""
    paper = {"rmoe_d": "< 3 % over dense; > 30 % below MoE", "rmoe_i": "< 3 % over dense; > 30 % below MoE"}
    rows = []
    whole = sum(required(results, "moe", steps)["seconds"].values())
    for name in ROWS:
        found = row_of(results, name, steps)
        if found is None:
            continue
        seconds, flops = found["seconds"], found["flops"]
        given = sum(seconds.values()) - (seconds["upstream"] if ROWS[name].start == "dense" else 0)
        rows.append(
            {
                "pipeline": _title(name),
                "parameters": found["total"],
                "active": found["active"],
                "GFLOPs": round(sum(flops.values()) / 1e9, 1),
                "GFLOPs, dense model given": round(
                    (sum(flops.values()) - (flops["upstream"] if ROWS[name].start == "dense" else 0)) / 1e9, 1
                ),
                "CPU s": round(sum(seconds.values()), 1),
                "CPU s, dense model given": round(given, 1),
                "of MoE, dense model given": f"{100 * (given / whole - 1):+.0f} %",
                "paper": paper.get(name, ""),
            }
        )
    return rows


def grid_table(results: dict[str, Any]) -> list[dict[str, Any]]:
    """Validation scores of the tuning seeds over the grid; the chosen rate is marked."""
    rates = results["plan"]["rates"]
    groups = dict.fromkeys((each["world"], each["stage"], each["row"]) for each in results["grid"])
    rows = []
    for world, stage, row in groups:
        here = (each for each in results["grid"] if (each["world"], each["stage"], each["row"]) == (world, stage, row))
        own = {each["rate"]: each for each in here}
        line: dict[str, Any] = {"data": WORLDS[world][0], "stage": stage.replace("_", " "), "pipeline": row}
        for rate in rates:
            score = 100 * float(np.mean(own[rate]["val"]))
            line[f"{rate:g}"] = f"{score:.1f}{' *' if own[rate]['chosen'] else ''}"
        rows.append(line)
    return rows


def judge(results: dict[str, Any], shown: Sequence[Figure] = ()) -> Claim:
    """The paper's claim, judged by what was measured.

    Args:
        results: of ``pipeline``.
        shown: figures of the claim's page.

    Raises:
        UserError: a row that the claim is about was not run.
    """
    budgets = results["plan"]["downstream_steps"]
    tables = [
        Table(f"Test mIoU of patches, {steps} downstream steps", quality_table(results, steps)) for steps in budgets
    ]
    tables.append(Table(f"Cost, {budgets[0]} downstream steps", cost_table(results, budgets[0])))
    tables.append(Table("Validation scores over the grid of rates (*: chosen)", grid_table(results)))
    return of_findings(CLAIM, findings(results), tables, shown, results["plan"]["seeds"])


def write_claim(pipeline: str | Path, out: str | Path) -> Claim:
    """Judge a folder of ``pipeline``; ``claim.json`` and its figures go into ``out``."""
    from rmoe import figures

    results = read_results(pipeline)
    return write_judged(lambda shown: judge(results, shown), figures.CAPTIONS, pipeline, out)
