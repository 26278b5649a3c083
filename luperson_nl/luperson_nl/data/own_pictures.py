"""Own pictures as a data set: folders ``id/picture``, or a CSV file with path, pid, camid and split."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import numpy as np

from luperson_nl.data.image_lists import UNKNOWN, Found, ImageList, image_list
from shared_utils import UserError

PARTS = ("train", "query", "gallery")
_CAMERA = re.compile(r"(?:^|_)c(?:am)?(\d+)", re.IGNORECASE)


def read_folders(root: Path) -> tuple[dict[str, ImageList], Found]:
    """Folders of pictures, one a person: ``{train,query,gallery}/id/picture``, or ``id/picture`` alone.

    The camera is the number after ``_c`` or ``cam`` in a picture's name, unknown where there is none. Without folders of
    the parts all pictures are for training, and ``first_as_query`` makes a query and a gallery of the same.

    Raises:
        UserError: there is no such folder, or no picture in any.
    """
    found = Found()
    below = {part: root / part for part in PARTS if (root / part).is_dir()}
    folders = [path for place in below.values() or [root] for path in place.iterdir() if _is_folder(path)]
    numbers = _numbers(sorted({path.name for path in folders}))

    def persons(place: Path) -> ImageList:
        rows = []
        for folder in sorted(filter(_is_folder, place.iterdir())):
            for path in found.pictures(folder):
                camera = _CAMERA.search(path.stem)
                rows.append((str(path), numbers[folder.name], int(camera[1]) if camera else UNKNOWN))
        return image_list(rows)

    parts = {part: persons(place) for part, place in below.items()} or {"train": persons(root)}
    if not any(map(len, parts.values())):
        raise UserError(
            f"{root} holds no data set: expected bounding_box_train, query and bounding_box_test (Market-1501), "
            "list_train.txt (raw MSMT17), or a folder of pictures for each person (see README.md)"
        )
    return _complete(parts), found


def read_csv(path: Path) -> tuple[dict[str, ImageList], Found]:
    """A table with the columns path, pid, camid and split (train, query, gallery); camid and split may be missing.

    Paths are relative to the table's folder. Persons may be numbers or text.

    Raises:
        UserError: a column is missing, a value is of another kind, or a picture is not there.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            rows = list(reader)
            columns = reader.fieldnames or []
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} is not a CSV file ({error}): it has the columns path, pid, camid, split") from None
    if missing := {"path", "pid"} - set(columns):
        raise UserError(f"{path} has no column {' and '.join(sorted(missing))}: its first line is path,pid,camid,split")
    found = Found()
    numbers = _numbers(sorted({row["pid"] or "" for row in rows}))
    listed: dict[str, list[tuple[str, int, int]]] = {part: [] for part in PARTS}
    for line, row in enumerate(rows, 2):
        picture, camera = path.parent / (row["path"] or ""), (row.get("camid") or "").strip()
        part = (row.get("split") or "train").strip()
        if part not in PARTS:
            raise UserError(f"{path}, line {line}: the split is one of {', '.join(PARTS)}, got {part!r}")
        if camera and not camera.isdigit():
            raise UserError(f"{path}, line {line}: camid is a number, got {camera!r}")
        if not picture.is_file():
            raise UserError(f"{path}, line {line} names {picture}, which is not there: paths start at {path.parent}")
        found.endings[picture.suffix] += 1
        listed[part].append((str(picture), numbers[row["pid"] or ""], int(camera) if camera else UNKNOWN))
    if not rows:
        raise UserError(f"{path} lists no picture")
    return _complete({part: image_list(content) for part, content in listed.items() if content}), found


def first_as_query(pid: np.ndarray, camera: np.ndarray) -> np.ndarray:
    """Which pictures ask where nothing says so: the first one of each person and camera; all others are the gallery.

    A person who occurs once has nobody to be found by and stays in the gallery.

    Args:
        pid, camera: (n,).

    Returns:
        (n,) bool.
    """
    asks = np.zeros(len(pid), dtype=bool)
    if len(pid):
        asks[np.unique(np.stack([pid, camera], 1), axis=0, return_index=True)[1]] = True
        _, person, count = np.unique(pid, return_inverse=True, return_counts=True)
        asks &= count[person] > 1
    return asks


def _complete(parts: dict[str, ImageList]) -> dict[str, ImageList]:
    """All three parts, those that are not there empty."""
    return {part: parts.get(part, image_list([])) for part in PARTS}


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.name.startswith(".")


def _numbers(names: list[str]) -> dict[str, int]:
    """Persons as numbers: their own where every name is one, else in the order of the names."""
    if all(name.strip().isdecimal() for name in names) and len(set(map(int, names))) == len(names):
        return {name: int(name) for name in names}
    return {name: number for number, name in enumerate(names)}
