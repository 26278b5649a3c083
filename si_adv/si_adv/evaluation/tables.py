"""Tables of attacks: what a row says, and how tables are printed and written."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from shared_utils import files, logging
from si_adv.evaluation.clouds import Clouds, predictions
from si_adv.evaluation.experiment import Runs
from si_adv.metrics import success_rates, wilson_interval
from si_adv.victim import Victim

# What stands in the printed table; the files have every column.
PRINTED = (
    "attack",
    "seed",
    "asr",
    "asr_all",
    "asr_normalised",
    "l2",
    "chamfer",
    "hausdorff",
    "true_surface",
    "surface",
    "curvature",
    "queries",
    "steps",
    "cpu_seconds",
)


def attack_table(runs: Runs) -> list[dict[str, Any]]:
    """A row a run: victim, attack, seed, and what ``summarise`` says."""
    return [
        {"victim": victim, "attack": label, "seed": seed} | summarise(arrays)
        for (victim, label, seed), arrays in runs.items()
    ]


def summarise(arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """One row of a table from the per-cloud arrays of ``experiment.attack_batch``.

    ``asr``: over the clouds that were not fooled before (the number to quote), with its 95% Wilson interval;
    ``asr_all``: over all clouds, as published; ``asr_normalised``: as ``asr``, of clouds that another program centres and
    scales once more when it loads them. Distances are means over the attacked clouds; with the suffix
    ``_success`` over the successes alone. ``_p99`` and ``_max`` are the percentile and maximum over the points of a cloud.
    ``true_surface`` is the distance to the shape itself, ``surface`` by normals of a neighbourhood that no attack uses,
    ``surface_own`` by those that the attack started from. Queries and steps are means over the attacked clouds, failures
    at their full spend; their number is ``failures``.
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
        "asr_normalised": mean("success_normalised", attacked),
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


def over_seeds(rows: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> list[dict[str, Any]]:
    """Rows with equal ``keys`` as one: the mean of every number, and the standard deviation as ``<name>_sd``."""
    grouped: dict[tuple, list[Mapping[str, Any]]] = {}
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


def transfer_table(
    runs: Runs, targets: dict[str, Victim], batch_size: int, device: torch.device
) -> list[dict[str, Any]]:
    """How often clouds made on each surrogate fool each target, among those that the target classifies correctly."""
    rows = []
    for (surrogate, label, seed), values in runs.items():
        truth = torch.from_numpy(values["label"])
        for name, target in targets.items():
            clean = predictions(target, torch.from_numpy(values["clean"]), batch_size, device)
            adv = predictions(target, torch.from_numpy(values["adv"]), batch_size, device)
            rate, low, high, total = _fooled(clean, adv, truth)
            row = {"attack": label, "seed": seed, "surrogate": surrogate, "target": name}
            rows.append(row | {"transfer": rate, "low": low, "high": high, "clouds": total})
    return rows


def defence_table(
    clouds: dict[str, np.ndarray], victim: Victim, defences: dict[str, nn.Module], batch_size: int, device: torch.device
) -> list[dict[str, Any]]:
    """Accuracy on clean and on attacked clouds through every defence, and the success rate that is left."""
    truth = torch.from_numpy(np.asarray(clouds["label"])).long()
    rows = []
    for name, model in {"none": victim, **defences}.items():
        clean = predictions(model, torch.from_numpy(clouds["clean"]), batch_size, device)
        adv = predictions(model, torch.from_numpy(clouds["adv"]), batch_size, device)
        rate, low, high, _ = _fooled(clean, adv, truth)
        right = {"clean accuracy": (clean == truth), "accuracy under attack": (adv == truth)}
        row = {"defence": name} | {what: float(each.float().mean()) for what, each in right.items()}
        rows.append(row | {"asr": rate, "asr_low": low, "asr_high": high, "clouds": len(truth)})
    return rows


def _fooled(clean: Tensor, adv: Tensor, truth: Tensor) -> tuple[float, float, float, int]:
    """The share that is fooled of the clouds predicted rightly when clean, its 95% interval, and their number."""
    correct = clean == truth
    fooled, total = int((correct & (adv != truth)).sum()), int(correct.sum())
    return fooled / total if total else math.nan, *wilson_interval(fooled, total), total


def accuracy_row(name: str, victim: Victim, clouds: Clouds, batch_size: int) -> dict[str, Any]:
    """Accuracy of a victim over clouds, with its 95% Wilson interval, and the mean over classes."""
    victim.check_labels(clouds.labels, clouds.class_names, name)
    predicted = victim.predict(victim.input_of(clouds.points, clouds.normals), batch_size).argmax(1)
    correct = predicted == clouds.labels
    classes = [correct[clouds.labels == label].float().mean() for label in clouds.labels.unique()]
    low, high = wilson_interval(int(correct.sum()), len(correct))
    return {
        "victim": name,
        "clouds": len(correct),
        "accuracy": float(correct.float().mean()),
        "low": low,
        "high": high,
        "class accuracy": float(sum(classes) / len(classes)),
    }


def printed(rows: Sequence[Mapping[str, Any]], columns: Sequence[str] | None = None) -> str:
    """The columns of a table that fit a terminal (None: all); a column that no row has is left out."""
    shown = [name for name in columns or list(rows[0]) if any(name in row for row in rows)]
    if columns is not None and len({row.get("victim") for row in rows}) > 1:
        shown = ["victim", *shown]
    return logging.table([_plain({name: row.get(name) for name in shown}) for row in rows])


def write(folder: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """``table.csv``, ``table.md`` and ``table.json``, each written whole or not at all."""
    plain = [_plain(row) for row in rows]
    logging.write_table(plain, folder / "table")
    files.write_json(plain, folder / "table.json")


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    """NaN as None: JSON has no NaN."""
    return {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in row.items()}
