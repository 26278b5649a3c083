"""An evaluation from its beginning to its files."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ict_deepfake import figures, metrics
from ict_deepfake.evaluation import embedding, numbers
from ict_deepfake.evaluation.embedding import CLEAN, Suspects
from ict_deepfake.evaluation.people import is_control
from ict_deepfake.pretrained import Detector
from ict_deepfake.references import PictureHash, ReferenceSet
from shared_utils import UserError, distributed, files, work
from shared_utils.logging import write_table

log = logging.getLogger(__name__)
RESULTS = "metrics.json"
_SHEET = 8


@dataclass(frozen=True)
class Options:
    """How a set is evaluated.

    Args:
        degrade: None, "all", or kinds with commas between.
        protocol: published: its numbers besides the exact ones.
        calibrate: this is a validation set: fit a calibration on it, and write the model with it.
        k: references that are averaged.
        seed: of degradations and folds.
    """

    degrade: str | None = None
    protocol: Literal["exact", "published"] = "exact"
    calibrate: Literal["logistic", "isotonic"] | None = None
    k: int = 1
    seed: int = 0


def evaluate(
    suspects: Suspects,
    detector: Detector,
    references: ReferenceSet | None,
    options: Options,
    out: str | Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
) -> dict[str, Any] | None:
    """Embed what is missing, measure, and write metrics.json, table.csv and .md, grid.csv and the figures.

    Args:
        suspects: the set.
        detector: the model.
        references: of ICT-Ref; None: ICT alone.
        options: how.
        out: folder of the results.
        resume: continue what is there.
        overwrite: replace it.

    Returns:
        The content of metrics.json; None on all ranks but the first.

    Raises:
        UserError: a test picture is in the reference set; a class has no face.
    """
    wanted = embedding.changes(options.degrade)
    job = {"model": detector.digest, "changes": wanted, "seed": options.seed, **suspects.facts()}
    with work.begin(out, job, resume=resume, overwrite=overwrite) as parts_of:
        names = list(suspects.clips)
        parts_of.finish(
            names, lambda n: embedding.embed(suspects, n, detector, wanted, options.seed), "embedding clips"
        )
        if distributed.rank() != 0:
            return None
        parts = {name: parts_of.read(name) for name in names}
        if references is not None:
            references.refuse_leaks(_hashes(suspects, parts))
        results = _measure(suspects, parts, detector, references, options, wanted)
        folder = Path(out)
        write_table(shown(results), folder / "table")
        if results["grid"]:
            write_table(results["grid"], folder / "grid")
        files.write_json(results, folder / RESULTS)
        _draw(suspects, parts, detector, references, options, results, folder / "figures")
        if options.calibrate is not None:
            _calibrated(suspects, parts, detector, references, options).save_pretrained(folder / "calibrated")
        parts_of.complete()
    return results


def _hashes(suspects: Suspects, parts: dict[str, dict[str, np.ndarray]]) -> dict[str, PictureHash]:
    found = {}
    for name, part in parts.items():
        for number, (digest, near) in enumerate(zip(part["digests"], part["near"], strict=True)):
            if digest or near:
                found[f"{suspects.clips[name].video}, picture {number}"] = PictureHash(str(digest), str(near))
    return found


def _scores(references: ReferenceSet | None) -> list[numbers.Score]:
    return ["consistency"] if references is None else ["consistency", "reference"]


def _measure(
    suspects: Suspects,
    parts: dict[str, dict[str, np.ndarray]],
    detector: Detector,
    references: ReferenceSet | None,
    options: Options,
    wanted: list[str],
) -> dict[str, Any]:
    clips = suspects.clips
    methods = list(dict.fromkeys(clip.method for clip in clips.values() if clip.label == 1))
    results: dict[str, Any] = {"set": suspects.name, "seen": numbers.seen(parts), "table": [], "grid": []}
    for which in _scores(references):

        def more(scored: numbers.Scored, which: numbers.Score = which) -> dict[str, float]:
            found = numbers.published(scored, which, options.seed) if options.protocol == "published" else {}
            if detector.calibration is not None and detector.calibration.score == which:
                found |= numbers.accuracy(scored, detector.calibration)
            return found

        scored = numbers.score(parts, clips, detector, references, which, CLEAN, options.k)
        results["table"] += numbers.table(scored, which, methods, more, together=not any(map(is_control, methods)))
        for change in wanted[1:]:
            each = numbers.score(parts, clips, detector, references, which, change, options.k)
            kind, level = change.split("/")
            row = {"score": numbers.TITLES[which], "degradation": kind, "level": int(level)}
            swaps = _without_controls(each)
            results["grid"].append({**row, "AUC": metrics.auc(swaps.scores, swaps.labels)})
    results["cues"] = numbers.cues(parts, clips)
    return results


def _without_controls(scored: numbers.Scored) -> numbers.Scored:
    rows = np.flatnonzero([not is_control(method) for method in scored.methods.tolist()])
    return replace(
        scored,
        scores=scored.scores[rows],
        labels=scored.labels[rows],
        videos=[scored.videos[row] for row in rows],
        methods=scored.methods[rows],
    )


def shown(results: dict[str, Any]) -> list[dict[str, Any]]:
    """The table for readers: intervals as text."""
    return [
        {key: f"{value[0]:.3f}-{value[1]:.3f}" if isinstance(value, list) else value for key, value in row.items()}
        for row in results["table"]
    ]


def _calibrated(
    suspects: Suspects,
    parts: dict[str, dict[str, np.ndarray]],
    detector: Detector,
    references: ReferenceSet | None,
    options: Options,
) -> Detector:
    which = _scores(references)[-1]
    scored = _without_controls(numbers.score(parts, suspects.clips, detector, references, which, CLEAN, options.k))
    assert options.calibrate is not None
    fitted = metrics.calibrate(scored.scores, scored.labels, suspects.name, options.calibrate, which)
    return Detector(detector.model, detector.alignment, fitted)


def _draw(
    suspects: Suspects,
    parts: dict[str, dict[str, np.ndarray]],
    detector: Detector,
    references: ReferenceSet | None,
    options: Options,
    results: dict[str, Any],
    folder: Path,
) -> None:
    curves = {}
    for which in _scores(references):
        scored = numbers.score(parts, suspects.clips, detector, references, which, CLEAN, options.k)
        swaps = _without_controls(scored)
        curves[numbers.TITLES[which]] = (swaps.scores, swaps.labels)
        by_method = {"genuine": scored.scores[scored.labels == 0]}
        for method in dict.fromkeys(scored.methods[scored.labels == 1].tolist()):
            by_method[method] = scored.scores[scored.methods == method]
        figures.histograms(folder / f"histograms_{which}.png", by_method, f"score ({numbers.TITLES[which]})")
    figures.roc(folder / "roc.png", curves)
    if results["grid"]:
        grid: dict[str, dict[str, list[float]]] = {}
        for title, (scores, labels) in curves.items():
            for row in results["grid"]:
                if row["score"] == title:
                    levels = grid.setdefault(row["degradation"], {}).setdefault(title, [metrics.auc(scores, labels)])
                    levels.append(row["AUC"])
        figures.severity(folder / "severity.png", grid)
    _draw_extremes(suspects, parts, detector, folder)


def _draw_extremes(
    suspects: Suspects, parts: dict[str, dict[str, np.ndarray]], detector: Detector, folder: Path
) -> None:
    """A sheet of the frames with the highest and lowest scores of both classes, and where the tokens look in them.

    Controls are neither: nobody is swapped in them, and they are not what they were.
    """
    import torch

    from ict_deepfake.faces import network_input
    from ict_deepfake.scores import consistency

    place, values, labels = [], [], []
    for name, part in parts.items():
        if is_control(suspects.clips[name].method):
            continue
        found = consistency(*embedding.embeddings_of(part, CLEAN)).numpy()
        place += [(name, row) for row in range(len(found))]
        values += found.tolist()
        labels += [suspects.clips[name].label] * len(found)
    order, fake = np.argsort(values, kind="stable"), np.array(labels) == 1
    rows, notes = {}, {}
    for title, chosen in {
        "fake, highest": order[::-1][fake[order[::-1]]],
        "fake, lowest": order[fake[order]],
        "genuine, highest": order[::-1][~fake[order[::-1]]],
        "genuine, lowest": order[~fake[order]],
    }.items():
        shown = chosen[:_SHEET]
        rows[title] = [suspects.look(place[row][0]).crops[place[row][1]] for row in shown]
        notes[title] = [f"{values[row]:.2f}\n{suspects.clips[place[row][0]].method}" for row in shown]
    figures.sheet(folder / "extremes.png", rows, notes)
    images = [*rows["genuine, lowest"][:3], *rows["fake, highest"][:3]]
    with torch.no_grad():
        maps = detector.model.attention(network_input(images, detector.size).to(detector.device)).cpu().numpy()
    figures.attention(folder / "attention.png", images, maps)


def check_complete(results: dict[str, Any], missing: list[str]) -> None:
    """Say at the end what could not be used.

    Raises:
        UserError: files were missing or unreadable; everything else is done.
    """
    seen = results["seen"]
    for what in ("frames without a face", "clips without a face", "clips with several faces"):
        if seen[what]:
            log.info("%d %s", seen[what], what)
    strong = {cue: area for cue, area in results["cues"].items() if area > 0.75}
    if strong:
        shown = ", ".join(f"{cue} {area:.2f}" for cue, area in strong.items())
        log.warning("files alone tell the classes apart (AUC): %s; the AUC of faces is to be read beside it", shown)
    lost = [
        *(f"{name} ({why})" for name, why in seen["unreadable"].items()),
        *(f"{name} (missing)" for name in missing),
    ]
    if lost:
        raise UserError(f"{len(lost)} files could not be used, all others are in the results: {'; '.join(lost[:5])}")
