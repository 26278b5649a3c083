"""From logits to what is reported: clips and videos, exact, with intervals over videos."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from av_deepfake import metrics
from av_deepfake.calibration import Calibration
from av_deepfake.evaluation import cues
from av_deepfake.evaluation.scoring import Scored, gathered, seen
from av_deepfake.evaluation.suspects import CLEAN, Suspect, groups_of, methods_of

DRAWS = 200
"""Of the bootstrap over videos."""

Parts = Mapping[int, dict[str, np.ndarray]]


def measured(scored: Scored, calibration: Calibration | None = None) -> dict[str, Any]:
    """Every number of clips and of videos.

    Args:
        scored: clips of both classes.
        calibration: of the model; its threshold (P = 1/2) was set on the validation set that it names.
    """
    videos = scored.videos()
    z, y = videos.logits, videos.labels
    area = metrics.bootstrap(metrics.auc, z, y, DRAWS)
    found: dict[str, Any] = {
        **{"videos": len(y), "clips": len(scored.logits)},
        **{"AUC": area.value, "AUC interval": [area.low, area.high]},
        "clip AUC": metrics.auc(scored.logits, scored.labels),
        **{"AP": metrics.average_precision(z, y), "EER": metrics.eer(z, y)},
        "TPR at FPR 1 %": metrics.tpr_at_fpr(z, y, 0.01),
    }
    if calibration is not None:
        probability = calibration(z)
        found["accuracy"] = float(((probability >= 0.5) == (y == 1)).mean())
        found["Brier"] = float(np.square(probability - y).mean())
    return found


def table(
    parts: Parts, items: Sequence[Suspect], models: Sequence[str], calibrations: Sequence[Calibration | None]
) -> list[dict[str, Any]]:
    """A row of all fakes, and one a method against all genuine videos, for every model and group."""
    rows = []
    for number, (name, calibration) in enumerate(zip(models, calibrations, strict=True)):
        for group in groups_of(items):
            scored = gathered(parts, items, group, number)
            methods = methods_of([item for item in items if item.group == group])
            listed = [("all", methods)] if len(methods) > 1 else []
            for title, chosen in [*listed, *((method, [method]) for method in methods)]:
                found = measured(scored.only(chosen), calibration)
                rows.append({"model": name, "set": group, "fakes": title, **found})
    return rows


def leave_one_out(
    parts: Parts, items: Sequence[Suspect], models: Sequence[str], trained_on: Sequence[Sequence[str]]
) -> list[dict[str, Any]]:
    """The AUC of every model on the methods that it was not trained on, beside that on those that it was; and the means.

    Args:
        parts, items, models: see ``table``.
        trained_on: methods of each model's training; empty where they are not known.

    Returns:
        Empty where no model has left a method out.
    """
    rows = []
    for group in groups_of(items):
        methods = methods_of([item for item in items if item.group == group])
        own = []
        for number, (name, known) in enumerate(zip(models, trained_on, strict=True)):
            unseen, met = [m for m in methods if m not in known], [m for m in methods if m in known]
            if not unseen or not met:
                continue
            scored = gathered(parts, items, group, number)
            areas = [_area(scored.only(chosen)) for chosen in (unseen, met)]
            own.append(
                {"model": name, "set": group, "left out": ", ".join(unseen), "AUC": areas[0], "AUC, seen": areas[1]}
            )
        if len(own) > 1:
            mean = {key: float(np.mean([row[key] for row in own])) for key in ("AUC", "AUC, seen")}
            own.append({"model": "mean", "set": group, "left out": "each", **mean})
        rows += own
    return rows


def _area(scored: Scored) -> float:
    videos = scored.videos()
    return metrics.auc(videos.logits, videos.labels)


def grid(parts: Parts, items: Sequence[Suspect], models: Sequence[str], changes: Sequence[str]) -> list[dict[str, Any]]:
    """The AUC of videos under every degradation and level; level 0 is the clean set."""
    rows = []
    for number, name in enumerate(models):
        for group in groups_of(items):
            clean = _area(gathered(parts, items, group, number))
            for kind in dict.fromkeys(change.split(":")[0] for change in changes if change != CLEAN):
                rows.append({"model": name, "set": group, "degradation": kind, "level": 0, "AUC": clean})
                for change in changes:
                    if change.split(":")[0] == kind:
                        area = _area(gathered(parts, items, group, number, change))
                        level = int(change.split(":")[1])
                        rows.append({"model": name, "set": group, "degradation": kind, "level": level, "AUC": area})
    return rows


def trivial(parts: Parts, items: Sequence[Suspect]) -> list[dict[str, Any]]:
    """The AUC of each trivial cue alone, a row a group; empty where none is known."""
    rows = []
    for group in groups_of(items):
        numbers = [number for number in parts if items[number].group == group]
        known = [seen(parts[number])["cues"] for number in numbers]
        areas = cues.areas(known, [items[number].label for number in numbers])
        if areas:
            rows.append({"set": group, **areas})
    return rows


def accounted(parts: Parts, items: Sequence[Suspect]) -> dict[str, Any]:
    """What was looked at: videos, those without a score and why, and how many had silence trimmed."""
    unscored: dict[str, str] = {}
    trimmed = 0
    for number, part in parts.items():
        found = seen(part)
        trimmed += found["trimmed"] > 0
        for change, note in found["notes"].items():
            where = "" if change == CLEAN else f" ({change})"
            unscored["/".join(filter(None, (items[number].group, *items[number].key))) + where] = note
    return {"videos": len(parts), "trimmed": trimmed, "unscored": unscored}


def video_rows(parts: Parts, items: Sequence[Suspect], models: Sequence[str]) -> list[dict[str, Any]]:
    """A row a video: group, method, id, label, clips, and its logit by every model."""
    rows = []
    for number, part in parts.items():
        item, logits = items[number], part[f"logits {CLEAN}"]
        row: dict[str, Any] = {"set": item.group, "method": item.key[0], "id": item.key[1], "label": item.label}
        means = logits.mean(1) if logits.shape[1] else np.full(len(models), np.nan)
        rows.append({**row, "clips": logits.shape[1], **dict(zip(models, map(float, means), strict=True))})
    return rows
