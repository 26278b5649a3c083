"""An evaluation from its beginning to its files."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from av_deepfake import calibration, degradations, figures
from av_deepfake.evaluation import numbers
from av_deepfake.evaluation.cues import SUSPICIOUS
from av_deepfake.evaluation.scoring import compute, gathered
from av_deepfake.evaluation.suspects import CLEAN, Suspects, check_classes, groups_of, methods_of
from av_deepfake.pretrained import MouthModel
from shared_utils import UserError, distributed, files, work
from shared_utils.logging import write_table

log = logging.getLogger(__name__)
RESULTS = "metrics.json"
LEVELS = 5


@dataclass(frozen=True)
class Options:
    """How a set is evaluated.

    Args:
        degrade: None, "all", or kinds with commas between: five levels of each.
        calibrate: this is a validation set: fit a calibration on it, and write the model with it.
    """

    degrade: str | None = None
    calibrate: calibration.Kind | None = None

    def changes(self) -> list[str]:
        """``CLEAN``, then every degradation at every level.

        Raises:
            UserError: a degradation that is not known.
        """
        if self.degrade is None:
            return [CLEAN]
        kinds = list(degradations.KINDS) if self.degrade == "all" else self.degrade.split(",")
        unknown = [kind for kind in kinds if kind not in degradations.KINDS]
        if unknown:
            raise UserError(f"--degrade {unknown[0]}: give all, or of {', '.join(degradations.KINDS)}")
        return [CLEAN, *(f"{kind}:{level}" for kind in kinds for level in range(1, LEVELS + 1))]


def evaluate(
    suspects: Suspects,
    models: dict[str, MouthModel],
    options: Options,
    out: str | Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
) -> dict[str, Any] | None:
    """Score what is missing, measure, and write metrics.json, the tables and the figures.

    Args:
        suspects: the set.
        models: with detectors, by name.
        options: how.
        out: folder of the results.
        resume: continue what is there.
        overwrite: replace it.

    Returns:
        The content of metrics.json; None on all ranks but the first.

    Raises:
        UserError: a class has no video, or no mouth was found.
    """
    check_classes(suspects)
    changes = options.changes()
    if options.calibrate is not None and len(models) > 1:
        raise UserError("--calibrate fits one model: give one --ckpt")
    digests = {name: model.digest for name, model in models.items()}
    job = {"models": digests, "changes": changes, **suspects.facts()}
    with work.begin(out, job, resume=resume, overwrite=overwrite) as parts_of:
        names = [f"{number:06d}" for number in range(len(suspects.items))]
        scorers = list(models.values())
        parts_of.finish(names, lambda name: compute(suspects, int(name), scorers, changes), "scoring videos")
        if distributed.rank() != 0:
            return None
        parts = {int(name): parts_of.read(name) for name in names}
        results = _measure(suspects, parts, models, changes)
        folder = Path(out)
        write_table(shown(results["table"]), folder / "table")
        write_table(numbers.video_rows(parts, suspects.items, list(models)), folder / "videos")
        for name in ("leave_one_out", "grid", "cues"):
            if results[name]:
                write_table(results[name], folder / name)
        files.write_json(results, folder / RESULTS)
        _draw(suspects, parts, models, results, folder / "figures")
        if options.calibrate is not None:
            _calibrated(suspects, parts, next(iter(models.values())), options.calibrate).save_pretrained(
                folder / "calibrated"
            )
        parts_of.complete()
    return results


def _measure(
    suspects: Suspects, parts: numbers.Parts, models: dict[str, MouthModel], changes: Sequence[str]
) -> dict[str, Any]:
    items, names = suspects.items, list(models)
    trained_on = [trained_methods(model) for model in models.values()]
    return {
        "set": suspects.name,
        "seen": numbers.accounted(parts, items),
        "table": numbers.table(parts, items, names, [model.calibration for model in models.values()]),
        "leave_one_out": numbers.leave_one_out(parts, items, names, trained_on),
        "grid": numbers.grid(parts, items, names, changes),
        "cues": numbers.trivial(parts, items),
    }


def trained_methods(model: MouthModel) -> list[str]:
    """The manipulations that a model was fine-tuned on; empty where its file does not say."""
    described = model.training_data.get("detection")
    return list(described.get("methods", [])) if isinstance(described, dict) else []


def shown(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """A table for readers: intervals as text."""
    return [
        {key: f"{value[0]:.3f}-{value[1]:.3f}" if isinstance(value, list) else value for key, value in row.items()}
        for row in rows
    ]


def _calibrated(suspects: Suspects, parts: numbers.Parts, model: MouthModel, kind: calibration.Kind) -> MouthModel:
    found = [gathered(parts, suspects.items, group).videos() for group in groups_of(suspects.items)]
    logits, labels = (np.concatenate([getattr(each, name) for each in found]) for name in ("logits", "labels"))
    model.calibration = calibration.fit(logits, labels, suspects.name, kind)
    return model


def _draw(
    suspects: Suspects, parts: numbers.Parts, models: dict[str, MouthModel], results: dict[str, Any], folder: Path
) -> None:
    items = suspects.items
    for number, name in enumerate(models):
        place = folder if len(models) == 1 else folder / name.replace("/", "_")
        curves, by_method = {}, {}
        for group in groups_of(items):
            scored = gathered(parts, items, group, number)
            for method in methods_of([item for item in items if item.group == group]):
                videos = scored.only([method]).videos()
                curves[f"{method}, {group}"] = (videos.logits, videos.labels)
            videos = scored.videos()
            methods = np.array([str(key[0]) for key in videos.keys])  # type: ignore[index]
            for method in dict.fromkeys(methods.tolist()):
                by_method[f"{method}, {group}"] = videos.logits[methods == method]
        figures.roc(place / "roc.png", curves)
        figures.histograms(place / "histograms.png", by_method)
    if results["grid"]:
        figures.severity(folder / "severity.png", results["grid"])
    if results["leave_one_out"]:
        figures.leave_one_out(folder / "leave_one_out.png", results["leave_one_out"])
    _draw_extremes(suspects, parts, folder)


def _draw_extremes(suspects: Suspects, parts: numbers.Parts, folder: Path) -> None:
    """The mouths of the clips that the first model finds the most and the least suspicious, of both classes."""
    place = [(number, clip) for number, part in parts.items() for clip in range(part[f"logits {CLEAN}"].shape[1])]
    logits = np.array([float(parts[number][f"logits {CLEAN}"][0, clip]) for number, clip in place])
    fake = np.array([suspects.items[number].label == 1 for number, _ in place])
    strips = {}
    for title, rows, best in (
        ("fake, highest", np.flatnonzero(fake), np.argmax),
        ("fake, lowest", np.flatnonzero(fake), np.argmin),
        ("genuine, highest", np.flatnonzero(~fake), np.argmax),
        ("genuine, lowest", np.flatnonzero(~fake), np.argmin),
    ):
        number, clip = place[rows[int(best(logits[rows]))]]
        logit = logits[rows[int(best(logits[rows]))]]
        method = f" ({suspects.items[number].key[0]})" if suspects.items[number].label else ""
        strips[f"{title}{method}: logit {logit:.2f}"] = suspects.look(number, CLEAN).pictures[clip]
    figures.strips(folder / "extremes.png", strips)


def check_complete(results: dict[str, Any], missing: Sequence[str]) -> None:
    """Report at the end what could not be used, and what gives the labels away.

    Raises:
        UserError: videos were missing or unreadable; everything else is done.
    """
    for row in results["cues"]:
        strong = {cue: area for cue, area in row.items() if isinstance(area, float) and area > SUSPICIOUS}
        if strong:
            listed = ", ".join(f"{cue} {area:.2f}" for cue, area in strong.items())
            hint = "; --trim_silence evaluates without it" if "leading silence" in strong else ""
            log.warning("%s: the files alone give the labels away (AUC of %s)%s", row["set"], listed, hint)
    unscored = results["seen"]["unscored"]
    without = [name for name, note in unscored.items() if not note.startswith("unreadable")]
    if without:
        log.warning("%d videos have no score (%s first: %s)", len(without), without[0], unscored[without[0]])
    lost = [f"{name} ({note})" for name, note in unscored.items() if note.startswith("unreadable")]
    lost += [f"{name} (missing)" for name in missing]
    if lost:
        raise UserError(f"{len(lost)} videos could not be used, all others are in the results: {'; '.join(lost[:5])}")
