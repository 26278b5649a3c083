"""A benchmark: results on disk against ground truth on disk, which belong together, their scores, and the table of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, NamedTuple

from mot_occlusion.data import mot_format
from mot_occlusion.data.mot import nobody_left
from mot_occlusion.data.mot_format import Rows
from mot_occlusion.evaluation.accumulator import Convention, evaluate_like
from mot_occlusion.evaluation.hota import ALPHAS
from mot_occlusion.evaluation.measures import combine, measure, scores
from mot_occlusion.evaluation.preprocess import Preset, prepare, preset_of
from shared_utils import UserError, files, logging

Split = Literal["all", "first-half", "second-half"]


class Pair(NamedTuple):
    """A sequence's folder and the file of its results."""

    name: str
    folder: Path
    results: Path


def find_pairs(gt: str | Path, results: str | Path, part: str | None = None, allow_missing: bool = False) -> list[Pair]:
    """The sequences and their results, by name. Raises UserError for results of no sequence, and for missing ones."""
    folders = {folder.name: folder for folder in mot_format.find_sequences(gt, part)}
    results = Path(results)
    if results.is_file():
        files = {results.stem: results}
        if len(folders) > 1:
            folders = {name: folder for name, folder in folders.items() if name in files} or folders
    elif results.is_dir():
        files = {path.stem: path for path in sorted(results.glob("*.txt"))}
    else:
        raise UserError(f"{results} not found: give a folder of <sequence>.txt files, or one of them")
    if not files:
        raise UserError(f"no <sequence>.txt in {results}: give the folder that track.py wrote")
    for name, path in files.items():
        if name not in folders:
            raise UserError(
                f"{path}: no sequence {name} in {gt} (there are {', '.join(sorted(folders))}): rename or move it"
            )
    missing = sorted(set(folders) - set(files))
    if missing and not allow_missing:
        raise UserError(
            f"no results for {', '.join(missing)} in {results}: track them, or leave them out with --allow_missing"
        )
    return [Pair(name, folders[name], path) for name, path in files.items()]


def load(pair: Pair, split: Split = "all") -> tuple[Rows, Rows, int]:
    """Ground truth, results and the number of frames of a sequence, or of one half of it (counted from 1 again)."""
    gt = mot_format.read_gt(pair.folder / "gt" / "gt.txt")
    results = mot_format.read_results(pair.results)
    if not len(gt.frames):
        raise UserError(f"{pair.folder / 'gt' / 'gt.txt'} is empty: a sequence needs ground truth to be evaluated")
    if not ((gt.classes == 1) & (gt.scores != 0)).any():
        raise UserError(nobody_left(pair.folder / "gt" / "gt.txt", gt))
    # MOT15's and other copies may lack seqinfo.ini; the length then follows from the ground truth.
    has_info = (pair.folder / "seqinfo.ini").is_file()
    length = mot_format.read_seqinfo(pair.folder).length if has_info else int(gt.frames[-1])
    if split == "all":
        return gt, results, length
    half = length // 2
    first, last = (1, half) if split == "first-half" else (half + 1, length)
    for what, rows in (("ground truth", gt), ("results", results)):
        if len(rows.frames) and rows.frames[-1] > length:
            raise UserError(f"{pair.results}: {what} has frame {rows.frames[-1]}, but {pair.name} has {length} frames")
    gt, results = (
        rows.select((rows.frames >= first) & (rows.frames <= last))._replace(
            frames=rows.frames[(rows.frames >= first) & (rows.frames <= last)] - first + 1
        )
        for rows in (gt, results)
    )
    return gt, results, last - first + 1


def score(
    pairs: list[Pair],
    metrics: tuple[str, ...] = ("clear", "id", "hota"),
    split: Split = "all",
    preset: Preset | Literal["auto"] = "auto",
) -> dict[str, dict[str, Any]]:
    """All scores by sequence, and of all sequences together under COMBINED."""
    measured = {}
    for pair in pairs:
        gt, results, length = load(pair, split)
        chosen = preset_of(pair.name, gt) if preset == "auto" else preset
        measured[pair.name] = measure(prepare(gt, results, length, chosen, str(pair.results)), metrics)
    if len(measured) > 1:
        measured["COMBINED"] = combine(list(measured.values()))
    return {name: scores(counts) for name, counts in measured.items()}


def row(name: str, values: dict[str, Any]) -> dict[str, Any]:
    """The usual columns: percentages with one decimal as in the challenge's tables, and counts."""
    shares = ("HOTA", "DetA", "AssA", "LocA", "MOTA", "MOTP", "IDF1", "IDP", "IDR", "CLR_Re", "CLR_Pr")
    counts = {"CLR_FP": "FP", "CLR_FN": "FN", "IDSW": "IDSW", "Frag": "Frag", "MT": "MT", "PT": "PT", "ML": "ML"}
    found = {"sequence": name} | {
        key.removeprefix("CLR_"): f"{100 * values[key]:.1f}" for key in shares if key in values
    }
    return found | {short: int(values[key]) for key, short in counts.items() if key in values}


def table_like(convention: Convention, pair: Pair, split: Split, preset: Preset | Literal["auto"]) -> dict[str, Any]:
    """A line of py-motmetrics' table, or of the published evaluator's."""
    gt, results, length = load(pair, split)
    chosen = preset_of(pair.name, gt) if preset == "auto" else preset
    return {"sequence": pair.name} | evaluate_like(convention, gt, results, length, chosen)


def write(folder: Path, rows: list[dict[str, Any]], scored: dict[str, dict[str, Any]]) -> None:
    """scores.csv and scores.md (the table), scores.json (every number) and hota.png in ``folder``."""
    curves = {name: values["curves"] for name, values in scored.items() if "curves" in values}
    plain = {
        name: {key: value for key, value in values.items() if key != "curves"}
        | {"curves": {key: curve.tolist() for key, curve in curves.get(name, {}).items()}}
        for name, values in scored.items()
    }
    files.write_json(plain or rows, folder / "scores.json")
    logging.write_table(rows, folder / "scores")
    if curves:
        from mot_occlusion import figures

        figures.hota_curves(folder / "hota.png", curves, ALPHAS)
