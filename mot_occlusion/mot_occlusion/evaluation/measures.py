"""The scores of a sequence, or of several together, from the counts of the metrics."""

from __future__ import annotations

from typing import Any

import numpy as np

from mot_occlusion.data.mot_format import Rows
from mot_occlusion.evaluation.clear import COUNTS as CLEAR_COUNTS
from mot_occlusion.evaluation.clear import clear, clear_scores
from mot_occlusion.evaluation.hota import COUNTS as HOTA_COUNTS
from mot_occlusion.evaluation.hota import combine_hota, hota, hota_scores
from mot_occlusion.evaluation.identity import COUNTS as IDENTITY_COUNTS
from mot_occlusion.evaluation.identity import identity, identity_scores
from mot_occlusion.evaluation.preprocess import Preset, Sequence, prepare

METRICS = ("clear", "id", "hota")


def measure(sequence: Sequence, metrics: tuple[str, ...] = METRICS) -> dict[str, Any]:
    """The counts of the chosen metrics, by metric; they add up over sequences (see ``combine``)."""
    functions = {"clear": clear, "id": identity, "hota": hota}
    return {name: functions[name](sequence) for name in metrics}


def combine(measured: list[dict[str, Any]]) -> dict[str, Any]:
    """The counts over several sequences."""
    total: dict[str, Any] = {}
    for name in measured[0]:
        parts = [one[name] for one in measured]
        total[name] = combine_hota(parts) if name == "hota" else {k: sum(part[k] for part in parts) for k in parts[0]}
    return total


def scores(measured: dict[str, Any]) -> dict[str, Any]:
    """Every number by its usual name, as TrackEval calls them: fractions and counts.

    Curves of HOTA (19,) are under ``curves``; their means over the thresholds under the plain names.
    """
    result: dict[str, Any] = {}
    if "hota" in measured:
        curves = hota_scores(measured["hota"])
        result |= {name: float(np.mean(curve)) for name, curve in curves.items()}
        result |= {name: float(np.mean(measured["hota"][name])) for name in HOTA_COUNTS}
        first = curves["HOTA"][0], curves["LocA"][0]
        result |= {"HOTA(0)": float(first[0]), "LocA(0)": float(first[1]), "HOTALocA(0)": float(first[0] * first[1])}
        result["curves"] = curves | {name: measured["hota"][name] for name in HOTA_COUNTS}
    if "clear" in measured:
        result |= clear_scores(measured["clear"]) | {name: measured["clear"][name] for name in CLEAR_COUNTS}
    if "id" in measured:
        result |= identity_scores(measured["id"]) | {name: measured["id"][name] for name in IDENTITY_COUNTS}
    return result


def evaluate_sequence(gt: Rows, results: Rows, num_frames: int, preset: Preset = "mot17") -> dict[str, Any]:
    """All scores of one sequence, after the official preprocessing of ``preset``."""
    return scores(measure(prepare(gt, results, num_frames, preset)))
