"""What the paper claims, compared with what ``compare`` measured on the procedural street."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from luperson_nl.comparison import ROWS
from shared_utils import UserError, claim, cli
from shared_utils.claim import Claim, Figure, Finding, Table

RESULTS = "results.json"
PRECISION = 0.8
"""Share of the changed labels that must lead to the right person."""
NO_NOISE = 1.0
"""Points of mAP that PNL may lose to supervised training where no label is wrong."""
HISTOGRAM_BOUND, CLEAN_BOUND = 40.0, 80.0
"""mAP between which the street is hard enough and can be learnt (specification, 3.3)."""

CLAIM = (
    "Pre-training with PNL on the noisy identities of tracks makes better features than supervised training on the same "
    "labels, than MoCo and than an untrained network, at equal steps, in the mean and in every seed, with every method tuned "
    f"by as many tries; its correction raises both label accuracies in every seed, more than {100 * PRECISION:.0f} % of the "
    f"changes lead to the right person; and where no label is wrong it loses at most {NO_NOISE:g} point of mAP."
)
CAPTIONS = {
    "cmc.png": "share of the test queries that are found by rank; mean and span over the seeds",
    "noise.png": "test mAP over the noise of the labels, mean and every seed",
    "tsne.png": "crops of ten test persons as each pre-training sees them (t-SNE): colour a person, mark a camera",
    "corrections.png": "ids as the tracker gave them, and after PNL's correction: green the id's owner, red another person",
    "tracks.png": "clips with the ids of the tracker: green right, orange a second id of the person, red another person's id",
}


def read_results(folder: str | Path) -> dict[str, Any]:
    """What ``compare`` has written.

    Raises:
        UserError: it is not there, or not whole.
    """
    keys = {"plan", "rows", "grid", "noise", "finetuning"}
    return claim.read_results(Path(folder) / RESULTS, "compare", cli.command("compare"), keys)


def row_of(results: dict[str, Any], row: str) -> dict[str, Any] | None:
    """One row of the results; None where it was not run."""
    return next((found for found in results["rows"] if found["row"] == row), None)


def _needed(results: dict[str, Any], *rows: str) -> list[dict[str, Any]]:
    found = [row_of(results, row) for row in rows]
    missing = [row for row, one in zip(rows, found, strict=True) if one is None]
    if missing:
        raise UserError(f"compare has not run {', '.join(missing)}, which the claim is about: run all rows")
    return [one for one in found if one is not None]


def gain(results: dict[str, Any], low: str, high: str) -> np.ndarray:
    """Points of mAP by which ``high`` is above ``low``, seed by seed.

    Raises:
        UserError: one of them was not run.
    """
    below, above = _needed(results, low, high)
    return 100 * (np.array(above["mAP"]) - np.array(below["mAP"]))


def _seeds(values: Sequence[float] | np.ndarray, form: str = "+.1f") -> str:
    return f"{np.mean(values):{form}} ({', '.join(f'{value:{form}}' for value in values)})"


def above(results: dict[str, Any], low: str, high: str) -> Finding:
    """Whether ``high`` is above ``low`` in every seed."""
    points = gain(results, low, high)
    return Finding(bool((points > 0).all()), f"{ROWS[high].title} - {ROWS[low].title} {_seeds(points)} mAP")


def labels_rise(results: dict[str, Any], which: str) -> Finding:
    """Whether the correction raises an accuracy of the labels in every seed."""
    (row,) = _needed(results, "pnl")
    before, after = (100 * np.array(row[when][which]) for when in ("before", "after"))
    holds = bool((after > before).all())
    return Finding(holds, f"labels {which} {_seeds(before, '.1f')} -> {_seeds(after, '.1f')} %")


def precision(results: dict[str, Any]) -> Finding:
    """Whether enough of the changes lead to the right person."""
    (row,) = _needed(results, "pnl")
    shares = [share for share in row["precision"] if share is not None]
    if len(shares) < len(row["precision"]):
        return Finding(False, "in a seed no label was changed")
    return Finding(
        min(shares) > PRECISION, f"of the changes {_seeds(100 * np.array(shares), '.1f')} % lead to the right person"
    )


def no_noise(results: dict[str, Any]) -> Finding:
    """Whether PNL loses little where no label is wrong; not shown where supervised training is worse without noise than with it,
    because then its settings, chosen with noise, do not suit it."""
    points = gain(results, "supervised_clean", "pnl_clean")
    from_clean = gain(results, "supervised", "supervised_clean")
    if (from_clean < 0).any():
        return Finding(
            False,
            f"without noise supervised training changes by {_seeds(from_clean)} mAP: the settings that were chosen with noise "
            "do not suit it, so the part without noise is not shown",
        )
    return Finding(bool(points.mean() >= -NO_NOISE), f"without noise PNL - supervised {_seeds(points)} mAP")


PARTS: tuple[Callable[[dict[str, Any]], Finding], ...] = (
    lambda results: above(results, "supervised", "pnl"),
    lambda results: above(results, "moco", "pnl"),
    lambda results: above(results, "random", "pnl"),
    lambda results: labels_rise(results, "right person"),
    lambda results: labels_rise(results, "canonical"),
    precision,
    no_noise,
)


def findings(results: dict[str, Any]) -> list[Finding]:
    """Every part of the claim.

    Raises:
        UserError: a row that the claim is about was not run.
    """
    return [part(results) for part in PARTS]


def beside(results: dict[str, Any]) -> list[dict[str, Any]]:
    """What the claim does not depend on and a reader needs: a line a question, with the answer in numbers."""
    lines = []

    def line(question: str, low: str, high: str) -> None:
        if row_of(results, low) and row_of(results, high):
            lines.append(
                {
                    "question": question,
                    "mAP": f"{ROWS[high].title} - {ROWS[low].title}: {_seeds(gain(results, low, high))}",
                }
            )

    line("equal seconds", "supervised_long", "pnl")
    line("heavy noise", "supervised_heavy", "pnl_heavy")
    line("short training", "supervised_short", "pnl_short")
    for row, bound, word in (("histogram", HISTOGRAM_BOUND, "below"), ("clean", CLEAN_BOUND, "above")):
        found = row_of(results, row)
        if found is not None:
            scores = 100 * np.array(found["mAP"])
            met = (scores < bound).all() if word == "below" else (scores > bound).all()
            lines.append(
                {
                    "question": f"the street's bound: {ROWS[row].title} {word} {bound:g}",
                    "mAP": f"{_seeds(scores, '.1f')}: {'met' if met else 'not met'}",
                }
            )
    return lines


def quality_table(results: dict[str, Any]) -> list[dict[str, Any]]:
    """Scores of the test persons, every row."""
    rows = []
    for found in results["rows"]:
        scores = 100 * np.array(found["mAP"])
        rows.append(
            {
                "method": ROWS[found["row"]].title,
                "mAP": round(float(scores.mean()), 1),
                "mAP by seed": " ".join(f"{score:.1f}" for score in scores),
                "rank-1": round(100 * float(np.mean(found["rank-1"])), 1),
                "mINP": round(100 * float(np.mean(found["mINP"])), 1),
                "epochs": found["epochs"] or None,
                "rate": found["rate"],
                "weight": found["weight"],
                "CPU s": round(float(np.mean(found["seconds"])), 1) or None,
            }
        )
    return rows


def label_table(results: dict[str, Any]) -> list[dict[str, Any]]:
    """Labels before and after the correction of the last epoch, a line a row of PNL."""
    rows = []

    def percent(values: Sequence[float | None]) -> str:
        return " ".join("-" if value is None else f"{100 * value:.1f}" for value in values)

    for found in results["rows"]:
        if "after" not in found:
            continue
        before, (level,) = found["before"], [each for each in results["noise"] if each["noise"] == found["noise"]]
        rows.append(
            {
                "method": ROWS[found["row"]].title,
                "crops": " ".join(map(str, level["crops"])),
                "ids": " ".join(map(str, level["ids"])),
                "right person": percent(before["right person"]),
                "right person, corrected": percent(found["after"]["right person"]),
                "canonical": percent(before["canonical"]),
                "canonical, corrected": percent(found["after"]["canonical"]),
                "changed": percent(found["changed"]),
                "of them to the right person": percent(found["precision"]),
            }
        )
    return rows


def grid_table(results: dict[str, Any]) -> list[dict[str, Any]]:
    """Validation mAP of every try; the chosen one is marked."""
    return [
        {
            "method": tried["method"],
            "rate": tried["rate"],
            "weight": tried["weight"],
            "validation mAP": f"{100 * tried['val']:.1f}{' *' if tried['chosen'] else ''}",
        }
        for tried in results["grid"]
    ]


def finetuning_table(results: dict[str, Any]) -> list[dict[str, Any]]:
    """BoT fine-tuned on a tenth of the identities of another street."""
    rows = []
    for found in results["finetuning"]:
        scores = 100 * np.array(found["mAP"])
        tries = [tried for tried in results["finetuning_grid"] if tried["start"] == found["start"]]
        rows.append(
            {
                "start": found["start"] if found["start"] == "scratch" else ROWS[found["start"]].title,
                "mAP": round(float(scores.mean()), 1),
                "mAP by seed": " ".join(f"{score:.1f}" for score in scores),
                "rank-1": round(100 * float(np.mean(found["rank-1"])), 1),
                "rate": found["rate"],
                "validation mAP by rate": " ".join(f"{t['rate']:g}: {100 * t['val']:.1f}" for t in tries),
            }
        )
    return rows


def tables(results: dict[str, Any]) -> list[Table]:
    """All tables that have rows."""
    listed = (
        Table("Test persons, cross-camera", quality_table(results)),
        Table("Labels before and after the correction, by seed (%)", label_table(results)),
        Table("Beside the claim", beside(results)),
        Table("BoT fine-tuned on 10 % of the identities of another street", finetuning_table(results)),
        Table("Validation mAP of the tries (*: chosen)", grid_table(results)),
    )
    return [table for table in listed if table.rows]


def judge(results: dict[str, Any], shown: Sequence[Figure] = ()) -> Claim:
    """The paper's claim, judged by what was measured.

    Args:
        results: of ``compare``.
        shown: figures of the claim's page.

    Raises:
        UserError: a row that the claim is about was not run.
    """
    return claim.of_findings(CLAIM, findings(results), tables(results), shown, results["plan"]["seeds"])


def write_claim(compared: str | Path, out: str | Path) -> Claim:
    """Judge a folder of ``compare``; ``claim.json`` and its figures go into ``out``."""
    results = read_results(compared)
    return claim.write_judged(lambda shown: judge(results, shown), CAPTIONS, compared, out)
