"""The paper's small-scale and few-shot training lists: read as published, or made from a seed and never overwritten.

``id:0.10`` keeps 10 % of the persons (``few_ids/used_ids_0.10.txt``, one a line); ``im:0.10`` keeps 10 % of each person's
pictures (``few_ims/used_ims_0.10.txt``, ``name; label; camera`` with label and camera from 0).
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from luperson_nl.data.image_lists import ImageList
from shared_utils import UserError, files

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Split:
    """A share of the training data: ``kind`` is ``id`` or ``im``, ``share`` above 0 and at most 1."""

    kind: str
    share: float

    @property
    def place(self) -> Path:
        """The published place of its list, below the data set's folder."""
        folder, file = ("few_ids", "used_ids") if self.kind == "id" else ("few_ims", "used_ims")
        return Path(folder) / f"{file}_{self.share:.2f}.txt"


def parse(text: str) -> Split:
    """``id:0.10`` or ``im:0.10``.

    Raises:
        UserError: it is something else.
    """
    kind, _, share = text.partition(":")
    try:
        split = Split(kind, float(share))
    except ValueError:
        split = Split(kind, 0.0)
    if split.kind not in ("id", "im") or not 0.005 <= split.share <= 1:
        raise UserError(f"the split {text!r} is not id:SHARE or im:SHARE with a share of 0.01 to 1, as in id:0.10")
    return split


def apply(train: ImageList, split: str, folder: str | Path, seed: int = 0, repeat: int = 1) -> ImageList:
    """A part of the training list.

    Args:
        train: all of it.
        split: ``id:0.10`` or ``im:0.10``.
        folder: where ``few_ids`` and ``few_ims`` are; a list that is not there is made and written there.
        seed: of a list that is made.
        repeat: how often a few-shot list is repeated, so that an epoch has more steps (the paper's ``repeat_ratio``).

    Raises:
        UserError: the list names a picture or a person that is not in ``train``; the folder cannot be written.
    """
    chosen = parse(split)
    path = Path(folder) / chosen.place
    make, read = (_make_ids, _read_ids) if chosen.kind == "id" else (_make_images, _read_images)
    if not path.is_file():
        try:
            with files.replacing(path) as temporary:
                temporary.write_text(make(train, chosen.share, np.random.default_rng(seed)))
        except OSError as error:
            raise UserError(
                f"{path} is not there and cannot be written ({error.strerror}): name another folder"
            ) from None
        log.info("made %s with seed %d; it is read from now on and never overwritten", path, seed)
    rows = read(train, path)
    return train[np.tile(rows, repeat if chosen.kind == "im" else 1)]


def _lines(path: Path) -> list[tuple[int, str]]:
    """Number and content of every line that is not empty; line ends of Windows and spaces before them are dropped."""
    return [(number, line.strip()) for number, line in enumerate(path.read_text().splitlines(), 1) if line.strip()]


def _make_ids(train: ImageList, share: float, draw: np.random.Generator) -> str:
    persons = np.unique(train.pid)
    count = int(len(persons) * share)
    if not count:
        raise UserError(f"{share:.0%} of {len(persons)} persons is none: take a larger share")
    return "".join(f"{person}\n" for person in np.sort(draw.choice(persons, count, replace=False)))


def _read_ids(train: ImageList, path: Path) -> np.ndarray:
    known = set(train.pid.tolist())
    chosen = []
    for number, line in _lines(path):
        if not line.lstrip("-").isdecimal():
            raise UserError(f"{path}, line {number}: expected a person's number, got {line!r}")
        if int(line) not in known:
            raise UserError(
                f"{path}, line {number} names the person {line}, who is not in the training data: use its list"
            )
        chosen.append(int(line))
    return np.flatnonzero(np.isin(train.pid, chosen))


def _make_images(train: ImageList, share: float, draw: np.random.Generator) -> str:
    labels = train.labels()
    lines = []
    for label in range(train.num_ids):
        rows = np.flatnonzero(labels == label)
        count = max(1, round(len(rows) * share))
        for row in np.sort(draw.choice(rows, count, replace=False)):
            lines.append(f"{Path(str(train.paths[row])).name}; {label}; {train.camera[row] - 1}\n")
    return "".join(lines)


def _read_images(train: ImageList, path: Path) -> np.ndarray:
    row_of = {Path(str(name)).name: row for row, name in enumerate(train.paths)}
    labels = train.labels()
    rows = []
    for number, line in _lines(path):
        fields = [field.strip() for field in line.split(";")]
        if len(fields) != 3 or not fields[1].isdecimal():
            raise UserError(f"{path}, line {number}: expected 'name; label; camera', got {line!r}")
        row = row_of.get(fields[0])
        if row is None:
            raise UserError(
                f"{path}, line {number} names {fields[0]}, which is not in the training data: use its own list"
            )
        if labels[row] != int(fields[1]):
            raise UserError(
                f"{path}, line {number} gives {fields[0]} the label {fields[1]}, in the training data it is {labels[row]}: "
                "the list is of another data set"
            )
        rows.append(row)
    return np.array(rows, dtype=np.int64)
