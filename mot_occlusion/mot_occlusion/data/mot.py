"""Videos with boxes in the MOTChallenge layouts: MOT15, MOT16, MOT17, MOT20, and FairMOT's with a level ``images``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from mot_occlusion.data.mot_format import LAYOUT, Rows, find_sequences, read_boxes, read_gt, read_seqinfo
from shared_utils import UserError

# MOT17 holds every sequence three times, with the detections of three detectors: the images are the same.
_DETECTORS = ("SDP", "FRCNN", "DPM")


@dataclass(frozen=True)
class Video:
    """A video for training or evaluation.

    images: one file a frame. boxes: per frame (N, 4) x, y, w, h in pixels from 0, whole boxes that may leave the image.
    visibility: per frame (N,). ids: per frame (N,), for evaluation alone; None where they were not asked for.
    """

    name: str
    images: list[Path]
    boxes: list[np.ndarray]
    visibility: list[np.ndarray]
    ids: list[np.ndarray] | None = None

    def __len__(self) -> int:
        return len(self.images)


def read_videos(
    root: str | Path,
    split: str | None = None,
    part: Literal["all", "first-half", "second-half"] = "all",
    with_ids: bool = False,
) -> list[Video]:
    """The annotated videos below ``root``; pedestrians (class 1) with flag 1 alone, MOT17 once.

    Args:
        root: a data set, a folder of sequences, or one sequence.
        split: ``train``, ``test``, ... of a data set.
        part: of every video's frames; the first half is its first int(n / 2) frames.
        with_ids: read identities too.

    Raises:
        UserError: a file is missing or wrong; the message names it, what was looked for and the layout.
    """
    videos = [_read_video(folder, part, with_ids) for folder in _once(find_sequences(root, split))]
    videos = [video for video in videos if len(video)]
    if not videos:
        raise UserError(f"{root} has no frame with its image: expected {LAYOUT}")
    return videos


def nobody_left(path: Path, rows: Rows) -> str:
    """What is wrong with ground truth of which no row is a pedestrian who counts."""
    if (rows.classes != 1).all():
        column, wanted, found = 8, "pedestrians have class 1", rows.classes
    elif (rows.scores == 0).all():
        column, wanted, found = 7, "rows that count have flag 1", rows.scores
    else:
        return f"{path}: no row has flag 1 (column 7) and class 1 (column 8) at once, which pedestrians have"
    values = ", ".join(f"{value:g}" for value in np.unique(found)[:8])
    return f"{path}: column {column} holds {values} and never 1: {wanted}; write the column again"


def _once(folders: Sequence[Path]) -> list[Path]:
    chosen: dict[str, Path] = {}
    for detector in _DETECTORS:
        for folder in folders:
            if folder.name.endswith(f"-{detector}"):
                chosen.setdefault(folder.name.removesuffix(f"-{detector}"), folder)
    for folder in folders:
        if not folder.name.endswith(tuple(f"-{detector}" for detector in _DETECTORS)):
            chosen[folder.name] = folder
    return [chosen[name] for name in sorted(chosen)]


def _read_video(folder: Path, part: str, with_ids: bool) -> Video:
    info, gt = read_seqinfo(folder), folder / "gt" / "gt.txt"
    if not gt.is_file():
        raise UserError(f"{gt} not found: training and evaluation need the ground truth, expected {LAYOUT}")
    rows = read_gt(gt) if with_ids else read_boxes(gt)
    kept = rows.select((rows.classes == 1) & (rows.scores != 0))
    if len(rows.frames) and not len(kept.frames):
        raise UserError(nobody_left(gt, rows))
    rows = kept
    files = {int(path.stem): path for path in (folder / info.im_dir).glob(f"*{info.im_ext}") if path.stem.isdigit()}
    if not files:
        raise UserError(f"{folder / info.im_dir} holds no image named 000001{info.im_ext}: expected {LAYOUT}")
    half = info.length // 2
    first, last = {"all": (1, info.length), "first-half": (1, half), "second-half": (half + 1, info.length)}[part]
    numbers = [number for number in sorted(files) if first <= number <= last]
    starts = np.searchsorted(rows.frames, [[number, number + 1] for number in numbers]).reshape(-1, 2)
    spans = [slice(start, stop) for start, stop in starts]
    return Video(
        folder.name,
        [files[number] for number in numbers],
        [rows.boxes[span].astype(np.float32) for span in spans],
        [rows.visibility[span].astype(np.float32) for span in spans],
        [rows.ids[span] for span in spans] if with_ids else None,
    )
