"""Files of boxes: MOTChallenge text and the authors' pickles, found by the name of their video."""

from __future__ import annotations

import configparser
import hashlib
from pathlib import Path
from typing import Literal

import numpy as np

from luperson_nl.tracklets.boxes import Boxes, make
from shared_utils import UserError, plain_pickle

COLUMNS = "frame,id,left,top,width,height,confidence"


def read_mot(path: Path, truth: bool = False) -> Boxes:
    """Boxes of MOTChallenge text: lines of frame (1-based), id (-1: none), left, top, width, height, confidence, ...

    Args:
        path: commas or blanks between the numbers.
        truth: column 7 is the consider flag: lines with 0 are left out, as are those without an id.

    Raises:
        UserError: a line is not of that kind; the message names it.
    """
    try:
        text = path.read_text()
    except FileNotFoundError:
        raise UserError(f"{path} not found: give a file of lines {COLUMNS}") from None
    except UnicodeDecodeError:
        raise UserError(f"{path} is not text: give a file of lines {COLUMNS}") from None
    lines = [line for line in text.replace(",", " ").splitlines() if line.strip()]
    try:
        rows = np.array([line.split()[:7] for line in lines], np.float64).reshape(len(lines), -1)
    except ValueError:
        rows = np.zeros((0, 0))
    if lines and rows.shape[1] < 6:
        bad = next(line for line in lines if not _is_row(line, len(lines[0].split())))
        raise UserError(f"{path}: a line is not {COLUMNS}: {bad[:60]!r}")
    if not lines:
        rows = np.zeros((0, 7))
    score = rows[:, 6] if rows.shape[1] > 6 else np.ones(len(rows))
    if len(score) and (score == -1).all():  # tracks without confidence
        score = np.ones(len(rows))
    if len(rows) and rows[:, 0].min() < 1:
        raise UserError(f"{path} has a frame {rows[:, 0].min():g}: frames count from 1 here; add 1 to its first column")
    if not np.isfinite(rows[:, :6]).all():
        raise UserError(f"{path} has a number that is not finite: write it again")
    corner = rows[:, 2:4]
    found = make(rows[:, 0], np.concatenate([corner, corner + rows[:, 4:6]], axis=1), score, rows[:, 1])
    return found[(found.score != 0) & (found.track >= 0)] if truth else found


def _is_row(line: str, columns: int) -> bool:
    parts = line.split()
    try:
        [float(part) for part in parts[:7]]
    except ValueError:
        return False
    return len(parts) >= 6 and len(parts) == columns


def read_published(path: Path) -> Boxes:
    """Boxes of the authors' pickle {frame: [[number, {'bbox': x1 y1 x2 y2, 'pid': id, ...}], ...]}, frames from 0 there.

    Raises:
        UserError: it holds anything but plain values, or is laid out in another way.
    """
    content = plain_pickle.read(path)
    frames, boxes, tracks, numbers = [], [], [], []
    try:
        for frame, found in content.items():
            for number, box in found:
                frames.append(int(frame) + 1)
                numbers.append(int(number))
                boxes.append(np.asarray(box["bbox"], np.float64).reshape(4))
                tracks.append(int(box["pid"]))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{path} is not a pickle of detections ({type(error).__name__}: {error}): expected "
            "{frame: [[number, {'bbox': [x1, y1, x2, y2], 'pid': id}], ...]}"
        ) from None
    return make(
        np.array(frames, int), np.array(boxes), np.ones(len(frames)), np.array(tracks, int), np.array(numbers, int)
    )


def find(given: str | Path, video: str, several: bool, kind: Literal["det", "gt"] = "det") -> Path | None:
    """The file of boxes of a video; None where there is none.

    Args:
        given: a file, or a folder with NAME.txt, NAME/det/det.txt, NAME/det.txt or country+city+key.pkl for the video NAME.
        video: its name, with slashes for its folders.
        several: there are other videos: a file cannot be of all of them.
        kind: gt looks for NAME/gt/gt.txt and NAME/gt.txt instead.

    Raises:
        UserError: ``given`` is not there, or is one file for several videos.
    """
    given = Path(given)
    if given.is_file():
        if several:
            raise UserError(f"{given} is one file for several videos: give a folder of files with the videos' names")
        return given
    if not given.is_dir():
        raise UserError(f"{given} not found: give a file of boxes, or a folder of them with the videos' names")
    inside = given / video
    candidates = [inside.with_name(f"{inside.name}.txt"), inside.with_name(f"{inside.name}.pkl")]
    candidates += [inside / kind / f"{kind}.txt", inside / f"{kind}.txt"]
    candidates += [given / f"{video.replace('/', '+')}{ending}" for ending in (".pkl", ".txt")]
    if not several:
        candidates += [given / f"{Path(video).name}.txt"]
    return next((path for path in candidates if path.is_file()), None)


def read(path: Path, truth: bool = False) -> Boxes:
    """Boxes of a file by its kind."""
    return read_published(path) if path.suffix.lower() == ".pkl" else read_mot(path, truth)


def digest(path: Path) -> str:
    """16 hex digits of a file's content."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def parse_size(text: str | None) -> tuple[int, int] | None:
    """``768x576`` -> (768, 576), width and height.

    Raises:
        UserError: it is not a size.
    """
    if text is None:
        return None
    width, _, height = text.lower().partition("x")
    if not (width.isdigit() and height.isdigit() and int(width) and int(height)):
        raise UserError(f"a size is WIDTHxHEIGHT, as in 768x576, got {text}")
    return int(width), int(height)


def sequence_size(folder: Path) -> tuple[int, int] | None:
    """(width, height) in ``seqinfo.ini`` of a MOTChallenge sequence; None where there is none."""
    path = folder / "seqinfo.ini"
    if not path.is_file():
        return None
    parser = configparser.ConfigParser()
    try:
        parser.read(path)
        return parser.getint("Sequence", "imWidth"), parser.getint("Sequence", "imHeight")
    except (configparser.Error, ValueError):
        return None


def fitted(boxes: Boxes, path: Path, size: tuple[int, int], made_at: tuple[int, int] | None) -> Boxes:
    """Boxes in pixels of their video.

    Args:
        boxes: as their file has them.
        path: the file, for messages.
        size: (width, height) of the video.
        made_at: (width, height) of the pictures that they were made on, where that is known.

    Raises:
        UserError: they cannot be boxes of pictures of that size: refused, since crops would show no people.
    """
    width, height = size
    if made_at is not None:
        boxes = boxes.scaled(width / made_at[0], height / made_at[1])
    if not len(boxes):
        return boxes
    reach = boxes.box[:, 2:].max(0) / [width, height]
    centre = (boxes.box[:, :2] + boxes.box[:, 2:]) / 2
    outside = float(((centre < 0) | (centre > [width, height])).any(1).mean())
    beyond = float(max(reach.max() - 1, -(boxes.box[:, :2] / [width, height]).min()))
    if made_at is not None:
        if outside > 0.1:
            raise UserError(
                f"{path}: {outside:.0%} of the boxes lie outside of the {width}x{height} video even though they were scaled from "
                f"{made_at[0]}x{made_at[1]}: check --det-size, and that the boxes belong to this video"
            )
        return boxes
    extent = " x ".join(f"{value:.0f}" for value in boxes.box[:, 2:].max(0))
    if beyond > 0.02:
        raise UserError(
            f"{path}: boxes reach to {extent} and leave the {width}x{height} video by {beyond:.0%}: give the size of the "
            f"pictures that they were made on, as in --det-size 768x576 (--det-size {width}x{height} if it was this one)"
        )
    if len(boxes) >= 100 and reach.max() < 0.75:
        raise UserError(
            f"{path}: all {len(boxes)} boxes lie within {extent} of the {width}x{height} video: give the size of the "
            f"pictures that they were made on with --det-size ({width}x{height} if it was this one)"
        )
    return boxes
