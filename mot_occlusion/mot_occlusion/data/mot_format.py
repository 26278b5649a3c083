"""The text files of MOTChallenge: ground truth, detections, results and ``seqinfo.ini``, as people have them on disk.

Frames count from 1. The files count pixels from 1 as well, the program from 0 (the image covers 0 to its width): 1 is
subtracted from x and y where a file is read and added where one is written, here and nowhere else.
"""

from __future__ import annotations

import configparser
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from shared_utils import UserError
from shared_utils.files import replacing

#: What the files call the first pixel.
FIRST_PIXEL = 1.0
LAYOUT = "<root>/{train,test}/<sequence>/{img1/, gt/gt.txt, det/det.txt, seqinfo.ini}"
_KINDS = {
    "gt": "frame,id,x,y,w,h,flag,class,visibility (MOT16/17/20) or frame,id,x,y,w,h,flag,-1,-1,-1 (MOT15)",
    "boxes": "frame,,x,y,w,h,flag,class,visibility (MOT16/17/20) or frame,,x,y,w,h,flag,-1,-1,-1 (MOT15)",
    "detections": "frame,-1,x,y,w,h,score, and where there are several classes the class",
    "results": "frame,id,x,y,w,h,score,class or -1,-1,-1",
}


class Rows(NamedTuple):
    """The rows of a file, in order of the frames (and of the file inside a frame).

    frames (N,) from 1; ids (N,); boxes (N, 4) x, y, w, h float64, pixels from 0; scores (N,): the flag of ground truth,
    the confidence of the rest; classes (N,): where the file has none 1 in ground truth, -1 in the rest; visibility (N,): 1
    where the file has none.
    """

    frames: np.ndarray
    ids: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray
    classes: np.ndarray
    visibility: np.ndarray

    def select(self, chosen: np.ndarray) -> Rows:
        """The rows that a mask or an index array chooses."""
        return Rows(*(column[chosen] for column in self))

    def xyxy(self) -> np.ndarray:
        """Boxes as x1, y1, x2, y2 (N, 4)."""
        return np.concatenate([self.boxes[:, :2], self.boxes[:, :2] + self.boxes[:, 2:]], axis=1)

    def starts(self, num_frames: int) -> np.ndarray:
        """Positions (num_frames + 1,): the rows of frame f are ``starts[f - 1] : starts[f]``."""
        return np.searchsorted(self.frames, np.arange(1, num_frames + 2))


class SeqInfo(NamedTuple):
    """What ``seqinfo.ini`` says of a sequence."""

    name: str
    im_dir: str
    frame_rate: float
    length: int
    width: int
    height: int
    im_ext: str


def read_gt(path: str | Path) -> Rows:
    """Ground truth, of MOT15 (no class) or MOT16/17/20. Raises UserError naming the file, the line and the fix."""
    return _read(path, "gt")


def read_boxes(path: str | Path) -> Rows:
    """Ground truth without identities, whose column may hold anything: what training reads. Raises as ``read_gt``."""
    return _read(path, "boxes")


def read_detections(path: str | Path) -> Rows:
    """Detections (``det.txt``); the id column is ignored. Raises UserError as ``read_gt``."""
    return _read(path, "detections")


def read_results(path: str | Path) -> Rows:
    """A tracker's results; ids may be written as 3.0. Raises UserError as ``read_gt``."""
    return _read(path, "results")


def _read(path: str | Path, kind: str) -> Rows:
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path} not found: expected the MOTChallenge layout {LAYOUT}")
    table, lines = _table(path, kind)
    columns = table.shape[1]
    frames = table[:, 0].astype(np.int64)
    identified = kind in ("gt", "results")
    ids = table[:, 1].astype(np.int64) if identified else np.full(len(table), -1)
    boxes = table[:, 2:6] - [FIRST_PIXEL, FIRST_PIXEL, 0, 0]
    scores = table[:, 6] if columns > 6 else np.ones(len(table))
    annotated = kind in ("gt", "boxes")
    has_class = columns > 7 and (columns < 10 or _is_class(table) if annotated else _is_label(table[:, 7]))
    classes = table[:, 7].astype(np.int64) if has_class else np.full(len(table), 1 if annotated else -1)
    visibility = table[:, 8] if annotated and has_class and columns > 8 else np.ones(len(table))

    def refuse(bad: np.ndarray, what: str) -> None:
        if bad.any():
            raise UserError(f"{path}, line {lines[int(np.flatnonzero(bad)[0])]}: {what}")

    numbers = table[:, :7] if identified else np.delete(table[:, :7], 1, axis=1)
    refuse(~np.all(np.isfinite(numbers), axis=1), "a value is not a number: remove the line or write it again")
    refuse((table[:, 0] != frames) | (frames < 1), "frames are whole numbers that count from 1")
    refuse(np.any(boxes[:, 2:] < 0, axis=1), "a box of negative size: columns 3 to 6 are x,y,w,h with w and h positive")
    if identified:
        refuse(table[:, 1] != ids, "an id is a whole number")
        order = np.lexsort((ids, frames))
        again = (np.diff(frames[order]) == 0) & (np.diff(ids[order]) == 0)
        repeated = np.zeros(len(table), dtype=bool)
        repeated[order[1:][again]] = True
        if repeated.any():
            first = int(np.flatnonzero(repeated)[0])
            refuse(repeated, f"id {ids[first]} stands twice in frame {frames[first]}: one box an id and frame")
    order = np.argsort(frames, kind="stable")
    return Rows(frames, ids, boxes, scores, classes, visibility).select(order)


def _is_class(table: np.ndarray) -> bool:
    """Whether ground truth of ten columns has a class and a visibility, as some copies of MOT17 do.

    MOT15's last three columns are -1 or coordinates in the world.
    """
    classes, visibility = table[:, 7], table[:, 8]
    return bool(_is_label(classes) and classes.min(initial=1) >= 1 and ((visibility >= 0) & (visibility <= 1)).all())


def _is_label(column: np.ndarray) -> bool:
    """Whole numbers as labels are, from -1 (none) to the few hundred that data sets have; no coordinates."""
    return bool(((column == np.floor(column)) & (column >= -1) & (column < 2000)).all() and (column >= 0).any())


def _table(path: Path, kind: str) -> tuple[np.ndarray, Sequence[int]]:
    """The numbers of a file (N, columns) and the line numbers of its rows."""
    least = 7 if kind in ("gt", "boxes") else 6
    wanted = f"a line of {kind} is {_KINDS[kind]}"
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not a text file ({error.reason}): {wanted}") from None
    rows = text.splitlines()
    separator = "," if any("," in row for row in rows[:5]) else None
    if kind == "boxes":
        rows = [_without_id(row, separator) for row in rows]
    if not text.strip():
        return np.empty((0, 10)), range(0)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # numpy only warns of some malformed lines
            table = np.loadtxt(rows, delimiter=separator, ndmin=2, comments=None)
        if len(table) == len(rows) and table.shape[1] >= least:
            return table, range(1, len(rows) + 1)
    except (ValueError, UserWarning):
        pass
    # Something is not as it should be, or lines are empty or of two lengths: find out line by line.
    values, numbers = [], []
    for number, row in enumerate(rows, 1):
        if not row.strip():
            continue
        parts = [part.strip() for part in row.strip().rstrip(",").split(separator)]
        if len(parts) < least:
            raise UserError(f"{path}, line {number}: {len(parts)} columns, at least {least} are needed: {wanted}")
        try:
            values.append([float(part) for part in parts])
        except ValueError:
            raise UserError(f"{path}, line {number}: not numbers ({row.strip()[:60]}): {wanted}") from None
        numbers.append(number)
    width = min(map(len, values), default=10)
    return np.array([row[:width] for row in values]).reshape(-1, width), numbers


def _without_id(row: str, separator: str | None) -> str:
    parts = row.split(separator)
    return (separator or " ").join([*parts[:1], "-1", *parts[2:]]) if len(parts) > 1 else row


def read_seqinfo(folder: str | Path) -> SeqInfo:
    """``seqinfo.ini`` of a sequence's folder. Raises UserError naming the file and the missing key."""
    path = Path(folder) / "seqinfo.ini"
    if not path.is_file():
        raise UserError(
            f"{path} not found: a sequence has a seqinfo.ini with name, imDir, frameRate, seqLength, imWidth, "
            f"imHeight, imExt; expected {LAYOUT}"
        )
    parser = configparser.ConfigParser()
    try:
        parser.read_string(path.read_text(encoding="utf-8-sig"))
        section = parser["Sequence"]
        return SeqInfo(
            section.get("name", Path(folder).name),
            section.get("imDir", "img1"),
            float(section["frameRate"]),
            int(section["seqLength"]),
            int(section["imWidth"]),
            int(section["imHeight"]),
            section.get("imExt", ".jpg"),
        )
    except KeyError as error:
        raise UserError(f"{path}: {error} is missing: add it under [Sequence]") from None
    except (configparser.Error, ValueError, UnicodeDecodeError) as error:
        raise UserError(
            f"{path} cannot be read ({' '.join(str(error).split())}): write it as key=value lines"
        ) from None


def find_sequences(root: str | Path, split: str | None = None) -> list[Path]:
    """The folders of the sequences below ``root``: those with a gt, a det or a seqinfo.ini, in order of their names.

    Args:
        root: a sequence, a folder of sequences, the root of a data set, or one with FairMOT's extra level ``images``.
        split: of a data set; train where None.

    Raises:
        UserError: there is none.
    """
    root = Path(root)

    def is_sequence(folder: Path) -> bool:
        return any((folder / name).is_file() for name in ("gt/gt.txt", "det/det.txt", "seqinfo.ini"))

    parts = [split] if split else ["train", ""]
    places = [root / level / part for level in ("", "images") for part in parts]
    if is_sequence(root):
        return [root]
    for place in places:
        found = sorted(folder for folder in place.glob("*") if folder.is_dir() and is_sequence(folder))
        if found:
            return found
    raise UserError(f"no sequence in {root}: expected {LAYOUT} (or one more level, images/)")


def result_line(frame: int, identity: int, box: Sequence[float], score: float, label: int = -1) -> str:
    """One line of results; ``box`` is x, y, w, h in pixels from 0, ``label`` a class, -1 where there are none."""
    x, y, w, h = box
    return f"{frame},{identity},{x + FIRST_PIXEL:.2f},{y + FIRST_PIXEL:.2f},{w:.2f},{h:.2f},{score:.2f},{label},-1,-1\n"


def write_rows(rows: Rows, path: str | Path) -> None:
    """Write results (or detections, with id -1) whole."""
    with replacing(path) as temporary:
        temporary.write_text("".join(map(result_line, *rows[:5])))
