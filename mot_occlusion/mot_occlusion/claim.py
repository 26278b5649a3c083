"""The paper's claim, compared with the results of an ablation (``evaluation.ablation``)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mot_occlusion import figures
from mot_occlusion.evaluation.arms import ABLATION, FAIR, IOU, REID, WINDOWS
from shared_utils import UserError, files
from shared_utils.claim import Claim, Figure, Table
from shared_utils.logging import write_table

CLAIM = (
    "From boxes alone, without identities, embeddings are learned that raise IDF1 and HOTA over tracking by "
    "IoU, and estimating occlusions lowers the misses and raises MOTA further."
)
_DIGITS = [
    *((column, 1, 100) for column in ("HOTA", "AssA", "IDF1", "MOTA")),
    *((column, 0, 1) for column in ("CLR_FN", "CLR_FP", "IDSW", "recovered")),
    ("recovered IoU", 2, 1),
]


def read_results(path: str | Path) -> dict[str, Any]:
    """The results of a finished ablation, of its folder or its ``ablation.json``.

    Raises:
        UserError: missing, damaged, or something else.
    """
    path = Path(path)
    path = path / ABLATION if path.is_dir() else path
    results = files.read_json(path, "result of ablate.py")
    if not isinstance(results, dict) or not {"arms", "chosen", "seen", "rank1", "rank1_untrained"} <= results.keys():
        raise UserError(f"{path} is not a result of ablate.py: give the folder that it wrote")
    return results


def judge(results: Mapping[str, Any]) -> Claim:
    """The claim, its evidence and whether it holds in every network, by more than the spread of the seeds.

    Args:
        results: of ``evaluation.ablation.run_ablation``.
    """
    table, full = results["arms"], results["chosen"]

    def gains(name: str, base: str, column: str) -> np.ndarray:
        return np.array([a[column] - b[column] for a, b in zip(table[name], table[base], strict=True)])

    before, after = np.array(results["rank1_untrained"]), np.array(results["rank1"])
    steps = {
        f"{column}: {step}": sign * gains(name, base, column)
        for step, name, base, columns in (
            ("re-ID over fair IoU", REID, FAIR, (("IDF1", 1), ("HOTA", 1))),
            ("occlusion over re-ID", full, REID, (("CLR_FN", -1), ("MOTA", 1))),
        )
        for column, sign in columns
    }
    # By more than the spread of seeds: the mean gain exceeds its standard deviation over the networks, and all gain.
    clear = {step: bool(gain.min() > 0 and gain.mean() > gain.std()) for step, gain in steps.items()}
    learned = before[:, 1].max() < 0.6 and after[:, 1].min() > 0.85
    missing = [step for step, yes in clear.items() if not yes]
    missing += [] if len(after) > 1 else ["a second network: of one, no spread of seeds is known"]
    missing += [] if learned else ["rank-1 of people seen nearly whole from below 0.6 to above 0.85 in every network"]
    verdict = f"with {full!r}, chosen on other sequences, " + (
        f"not all is there: {'; '.join(missing)}"
        if missing
        else "every step is there in every network, and larger than its spread over the seeds"
    )
    return Claim(
        claim=CLAIM,
        holds=not missing,
        verdict=verdict,
        tables=[
            Table(
                "rank-1: people recognised 10 frames later under a new light, trained without identities",
                _people(results["seen"], before, after),
            ),
            Table(
                "tracking of held-out sequences" + (", mean ± deviation over the networks" if len(after) > 1 else ""),
                _trackers(table, full),
            ),
        ],
        figures=[
            Figure("ablation.png", "The trackers on held-out sequences; a dot a network."),
            Figure("windows.png", "How long a hidden person is kept in sight: the recovery window."),
        ],
        seeds=list(range(len(before))),
    )


def report(results: Mapping[str, Any], folder: str | Path) -> Claim:
    """Judge, and write the figures and the tables (people.csv, trackers.csv and their .md) into ``folder``."""
    judged, folder = judge(results), Path(folder)
    draw(results, folder, judged.verdict)
    for name, table in zip(("people", "trackers"), judged.tables, strict=True):
        write_table(table.rows, folder / name)
    return judged


def _trackers(table: Mapping[str, list[Mapping[str, float]]], full: str) -> list[dict[str, Any]]:
    def cell(name: str, column: str, digits: int, factor: int) -> str:
        values = [factor * row[column] for row in table[name]]
        spread = f" ± {np.std(values):.{digits}f}" if len(values) > 1 else ""
        return f"{np.mean(values):.{digits}f}{spread}"

    return [
        {
            "tracker": f"{name} (chosen)" if name == full else name,
            **{column: cell(name, column, digits, factor) for column, digits, factor in _DIGITS},
        }
        for name in table
    ]


def _people(seen: list[float], before: np.ndarray, after: np.ndarray) -> list[dict[str, Any]]:
    return [
        {
            "network": seed,
            **{
                f"seen to {who}, {when}": float(shares[seed, column])
                for column, who in enumerate(seen)
                for when, shares in (("untrained", before), ("trained", after))
            },
        }
        for seed in range(len(before))
    ]


def draw(results: Mapping[str, Any], folder: str | Path, title: str) -> None:
    """The trackers as bars (``ablation.png``), and the sweep of the recovery window (``windows.png``)."""
    table, folder = results["arms"], Path(folder)
    rows = [
        {"arm": name, "seed": seed}
        | {
            column: factor * row[column]
            for column, factor in (("HOTA", 100), ("IDF1", 100), ("MOTA", 100), ("CLR_FN", 1))
        }
        for name in (IOU, FAIR, REID, results["chosen"])
        for seed, row in enumerate(table[name])
    ]
    figures.bars(folder / "ablation.png", rows, ("HOTA", "IDF1", "MOTA", "CLR_FN"), "held-out crowd")
    sweep = [
        {"sequence": "held-out crowd", "window": window, "seed": seed, **row}
        for window, name in [(0, REID), *((window, f"+ occlusion, window {window}") for window in WINDOWS)]
        for seed, row in enumerate(table[name])
    ]
    figures.window_sweep(folder / "windows.png", sweep, title)
