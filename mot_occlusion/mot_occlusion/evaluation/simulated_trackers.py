"""Every tracker on real trajectories with a simulated detector, over seeds and recovery windows."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mot_occlusion import figures
from mot_occlusion.data import mot_format, synthetic_crowd
from mot_occlusion.data.mot_format import Rows
from mot_occlusion.evaluation.arms import REID, arms, recovered_overlap, track
from mot_occlusion.evaluation.measures import evaluate_sequence
from mot_occlusion.evaluation.preprocess import Preset, preset_of
from mot_occlusion.evaluation.simulation import simulate_detections
from mot_occlusion.tracking import LOST
from shared_utils import UserError, distributed, files, logging, work
from shared_utils.work import Work


def compare(
    data: str | None,
    names: str | None,
    seeds: Sequence[int],
    windows: tuple[int, ...],
    track_buffer: int,
    out: str | None,
    resume: bool = False,
    overwrite: bool = False,
) -> tuple[Path, list[dict[str, Any]]]:
    """All arms on all sequences with all seeds; writes ``simulation.json`` and ``windows.png``.

    Args:
        data: root of a data set, a folder of sequences, or one; two crowds, drawn into ``out``, where None.
        names: of the sequences to take, with commas between; all where None.
        seeds: of the simulated detector.
        windows: recovery windows in frames.
        track_buffer: frames (at 30 per second) for which a lost track is kept.
        out: the folder of the results; a new ``runs/simulate/version_N`` where None.
        resume: continue an interrupted run of the same arguments.
        overwrite: begin again.

    Returns:
        The folder, and rows of ``run_sequence`` with ``sequence``, on the first process (none on the others).

    Raises:
        UserError: a name that is not there, ground truth without visibility, or an ``out`` that exists.
    """
    with distributed.process_group():
        folders = [] if data is None else _choose(data, names)
        made = str(out or (logging.run_folder("simulate") if distributed.rank() == 0 else ""))
        folder = Path(distributed.broadcast(made))
        job = {
            "data": data,
            "ground_truth": [_digest(path) for path in folders],
            "sequences": names,
            "seeds": seeds,
            "windows": windows,
            "track_buffer": track_buffer,
        }
        with work.begin(folder, job, resume=resume, overwrite=overwrite) as parts:
            if data is None:
                if distributed.rank() == 0:
                    synthetic_crowd.write_crowd(folder / "crowd", num_sequences=2, replace=not parts.resumed)
                distributed.barrier()
                folders = _choose(str(folder / "crowd"), names)
            rows = run(parts, folders, seeds, windows, track_buffer)
            if distributed.rank() > 0:
                return folder, []
            files.write_json(rows, folder / "simulation.json")
            title = "change against no recovery, simulated detections (band: range of the seeds)"
            figures.window_sweep(folder / "windows.png", [row for row in rows if row["window"] is not None], title)
            parts.complete()
    return folder, rows


def _choose(data: str, names: str | None) -> list[Path]:
    folders = mot_format.find_sequences(data)
    if names is None:
        return folders
    wanted, known = [name.strip() for name in names.split(",")], {path.name for path in folders}
    if unknown := sorted(set(wanted) - known):
        raise UserError(f"no sequence {', '.join(unknown)} in {data}: there are {', '.join(sorted(known))}")
    return [path for path in folders if path.name in wanted]


def _digest(folder: Path) -> str:
    path = folder / "gt" / "gt.txt"
    if not path.is_file():
        raise UserError(f"{path} not found: a simulated detector sees what the ground truth has")
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def run(
    job: Work, folders: Sequence[Path], seeds: Sequence[int], windows: tuple[int, ...], track_buffer: int
) -> list[dict[str, Any]]:
    """All arms on all sequences with all seeds, a part of ``job`` each: rows of ``run_sequence`` with ``sequence``.

    Raises:
        UserError: ground truth without visibility.
    """
    places = {f"{folder.name}-{seed}": (folder, seed) for folder in folders for seed in seeds}

    def compute(name: str) -> dict[str, np.ndarray]:
        folder, seed = places[name]
        info, rows = mot_format.read_seqinfo(folder), mot_format.read_gt(folder / "gt" / "gt.txt")
        if not (rows.visibility < 1).any():
            raise UserError(
                f"{folder / 'gt' / 'gt.txt'} has no visibility (column 9), by which people are seen: use MOT16/17/20"
            )
        size, preset = (info.height, info.width), preset_of(folder.name, rows)
        done = run_sequence(rows, info.length, size, info.frame_rate, seed, windows, preset, track_buffer=track_buffer)
        return _columns([{"sequence": folder.name} | row for row in done])

    job.finish(list(places), compute, "simulating")
    return [row for name in places for row in _rows(job.read(name))]


def _columns(rows: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    """Rows as arrays; a window that is None is -1."""
    rows = [row | {"window": -1 if row["window"] is None else row["window"]} for row in rows]
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def _rows(columns: dict[str, np.ndarray]) -> list[dict[str, Any]]:
    rows = [
        dict(zip(columns, values, strict=True))
        for values in zip(*(column.tolist() for column in columns.values()), strict=True)
    ]
    return [row | {"window": None if row["window"] < 0 else row["window"]} for row in rows]


def run_sequence(
    gt: Rows,
    num_frames: int,
    image_size: tuple[int, int],
    frame_rate: float,
    seed: int,
    windows: tuple[int, ...],
    preset: Preset = "mot17",
    **options: Any,
) -> list[dict[str, Any]]:
    """Every arm of the ablation on one sequence and seed: ``arm``, ``window`` (0: no recovery) and all scores.

    options: of ``Tracker``, for all arms.
    """
    detections = simulate_detections(gt, num_frames, image_size, seed)
    rows = []
    for name, own in arms(windows):
        results, states = track(detections, image_size, frame_rate, **(options | own))
        found = evaluate_sequence(gt, results, num_frames, preset)
        found.pop("curves")
        # The windows that are compared with each other: boxes as the filter predicts them, doubled ones dropped.
        plain = own.get("refine_lost_box") == "none" and "recovered_overlap" not in own
        window = own["recovery_window"] if plain else 0 if name == REID else None
        recovered = {
            "recovered": int((states == LOST).sum()),
            "recovered IoU": recovered_overlap(gt, results, states, num_frames),
        }
        rows.append({"arm": name, "seed": seed, "window": window} | recovered | found)
    return rows


def summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A line an arm: means over the seeds in percent, with the standard deviation, and counts."""
    lines = []
    for name in dict.fromkeys(row["arm"] for row in rows):
        chosen = [row for row in rows if row["arm"] == name]
        line: dict[str, Any] = {"tracker": name}
        for key in ("HOTA", "AssA", "MOTA", "IDF1"):
            values = 100 * np.array([row[key] for row in chosen])
            line[key] = f"{values.mean():.1f}" + (f" ± {values.std():.1f}" if len(values) > 1 else "")
        for key in ("CLR_FN", "CLR_FP", "IDSW"):
            line[key.removeprefix("CLR_")] = round(float(np.mean([row[key] for row in chosen])))
        line["recovered IoU"] = (
            f"{np.mean([row['recovered IoU'] for row in chosen]):.3f}" if chosen[0]["recovered"] else "-"
        )
        lines.append(line)
    return lines
