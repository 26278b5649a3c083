"""Landmarks that are there already, in place of a detector: JSON, CSV, NPY or NPZ, five points a face or 68.

- JSON: ``{"id00/img1.jpg": faces}``, or a list of ``{"file": "id00/img1.jpg", ...one face}``; ``faces`` is one face or a
  list of them, a face its points ``[[x, y], ...]`` or ``{"landmarks_xy": points, "box_xyxy": [x0, y0, x1, y1]}``.
- CSV with a header: ``path,x1,y1,...,x5,y5``, a row a face; with ``frame`` (number) for videos.
- NPZ: an array a picture under its name, (5, 2), (faces, 5, 2) or with 68.
- NPY: one array, the points of the pictures in the order in which they are listed.

A frame of a video is ``clip.mp4#12``. Names match by their ends: ``id00/img1.jpg`` is ``C:\\data\\id00\\img1.jpg``.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ict_deepfake.faces.found import Faces, area, box_of_points, five_of_68, no_faces
from shared_utils import UserError, files

POINT_KEYS = ("landmarks_xy", "landmarks", "points")
BOX_KEYS = ("box_xyxy", "box")
NAME_KEYS = ("file", "path", "image", "name")
KINDS = (".json", ".csv", ".npz", ".npy")


class _Face(NamedTuple):
    points: np.ndarray  # (5 | 68, 2)
    box: np.ndarray | None


class LandmarkFile:
    """The landmarks of many pictures. Made by ``landmark_file``.

    Args:
        entries: faces by the name of their picture.
        source: the file, for messages.
    """

    def __init__(self, entries: Mapping[str, list[_Face]], source: str) -> None:
        self.source = source
        self._entries = {_plain(name): found for name, found in entries.items()}
        # Every end of every name, unless two names share it.
        self._by_end: dict[str, str | None] = {}
        for name in self._entries:
            for end in _ends(name):
                self._by_end[end] = name if end not in self._by_end or end == name else None

    def __len__(self) -> int:
        return len(self._entries)

    def has(self, path: str | Path) -> bool:
        """Whether the file knows this picture."""
        return self._name_of(path) is not None

    def of(self, path: str | Path) -> Faces:
        """The faces of a picture, the largest first; the score of each is 1.

        Raises:
            UserError: the file doesn't know the picture, or two pictures by this name.
        """
        found = self._find(path)
        if not found:
            return no_faces()
        points = np.stack([five_of_68(face.points) if len(face.points) == 68 else face.points for face in found])
        around = box_of_points(points)
        boxes = np.stack([around[i] if face.box is None else face.box for i, face in enumerate(found)])
        order = np.argsort(-area(boxes), kind="stable")
        return Faces(boxes, np.ones(len(found), np.float32), points.astype(np.float32)).take(order)

    def all_points(self, path: str | Path) -> list[np.ndarray]:
        """Every point of each face as it stands in the file, (5, 2) or (68, 2) float32, in the order of the file.

        Raises:
            UserError: as of ``of``.
        """
        return [face.points for face in self._find(path)]

    def _find(self, path: str | Path) -> list[_Face]:
        name = self._name_of(path)
        if name is None:
            raise UserError(f"{self.source} has no landmarks of {path}: add them, or leave the picture out")
        return self._entries[name]

    def _name_of(self, path: str | Path) -> str | None:
        plain = _plain(str(path))
        for end in _ends(plain):  # the file may know a shorter name than was asked for
            if end in self._entries:
                return end
        return self._by_end.get(plain)  # or a longer one


def landmark_file(path: str | Path, names: Sequence[str] | None = None) -> LandmarkFile:
    """Read a file of landmarks.

    Args:
        path: .json, .csv, .npz or .npy; see the module.
        names: the pictures in their order; a .npy has no names of its own.

    Raises:
        UserError: it is missing, of another kind, or not laid out like one of them.
    """
    path = Path(path)
    if path.suffix.lower() not in KINDS:
        raise UserError(f"{path} is not a file of landmarks: known are {', '.join(KINDS)}")
    if not path.is_file():
        raise UserError(f"{path} not found: it should be a file of landmarks ({', '.join(KINDS)})")
    read = {".json": _json, ".csv": _csv, ".npz": _npz}.get(path.suffix.lower())
    try:
        entries = read(path) if read else _npy(path, names)
    except (ValueError, KeyError, TypeError, OSError, EOFError, csv.Error) as error:
        raise UserError(
            f"{path} cannot be read as landmarks ({error}): see faces/landmark_files.py for the layouts"
        ) from (None)
    return LandmarkFile(entries, str(path))


def write_landmarks(found: Mapping[str, Faces], path: str | Path) -> None:
    """Write faces by picture as the JSON that ``landmark_file`` reads."""
    content = {
        name: [
            {"box_xyxy": _rounded(box), "landmarks_xy": _rounded(points), "score": round(float(score), 4)}
            for box, score, points in zip(*one, strict=True)
        ]
        for name, one in found.items()
    }
    with files.replacing(path) as temporary:
        # A picture a line: readable, and a tenth of the lines of indented JSON.
        lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(one)}" for name, one in content.items())
        temporary.write_text(f"{{\n{lines}\n}}\n")


def _rounded(values: np.ndarray) -> list:
    return np.round(np.asarray(values, np.float64), 2).tolist()


def _json(path: Path) -> dict[str, list[_Face]]:
    content = files.read_json(path, "file of landmarks")
    if isinstance(content, list):
        entries: dict[str, list[_Face]] = {}
        for record in content:
            entries.setdefault(_first(record, NAME_KEYS), []).append(_face(record))
        return entries
    return {name: _several(value) for name, value in content.items()}


def _several(value: Any) -> list[_Face]:
    if isinstance(value, list) and (not value or isinstance(value[0], dict)):
        return [_face(one) for one in value]
    if isinstance(value, dict):
        return [_face(value)]
    return [_Face(points, None) for points in _points(value)]


def _face(record: Mapping[str, Any]) -> _Face:
    (points,) = _points(_first(record, POINT_KEYS))
    box = next((np.asarray(record[key], np.float32).reshape(4) for key in BOX_KEYS if key in record), None)
    return _Face(points, box)


def _first(record: Mapping[str, Any], keys: Sequence[str]) -> Any:
    for key in keys:
        if key in record:
            return record[key]
    raise KeyError(f"none of {', '.join(keys)}")


def _points(values: Any) -> list[np.ndarray]:
    """Arrays (5 | 68, 2) of one face or of several."""
    points = np.asarray(values, np.float32)
    if points.ndim and points.shape[-1] in (10, 136):
        points = points.reshape(*points.shape[:-1], -1, 2)
    if points.ndim == 2:
        points = points[None]
    if points.ndim != 3 or points.shape[1:] not in ((5, 2), (68, 2)):
        raise ValueError(f"points of {points.shape}, not of (5, 2) or (68, 2) a face")
    if not np.isfinite(points).all():
        raise ValueError("points that are not finite")
    return list(points)


def _csv(path: Path) -> dict[str, list[_Face]]:
    entries: dict[str, list[_Face]] = {}
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        columns = reader.fieldnames or []
        number = 68 if "x68" in columns else 5
        for row in reader:
            name = _first(row, NAME_KEYS)
            name = f"{name}#{int(row['frame'])}" if row.get("frame") else name
            (points,) = _points([[float(row[f"x{i}"]), float(row[f"y{i}"])] for i in range(1, number + 1)])
            entries.setdefault(name, []).append(_Face(points, None))
    return entries


def _npz(path: Path) -> dict[str, list[_Face]]:
    with np.load(path, allow_pickle=False) as archive:
        return {name: [_Face(points, None) for points in _points(archive[name])] for name in archive.files}


def _npy(path: Path, names: Sequence[str] | None) -> dict[str, list[_Face]]:
    array = np.load(path, allow_pickle=False)
    if not names:
        raise ValueError("a .npy has no names: give .json, .csv or .npz here")
    if len(names) == 1:
        return {names[0]: [_Face(points, None) for points in _points(array)]}
    if len(array) != len(names):
        raise ValueError(f"{len(array)} entries for {len(names)} pictures")
    return {name: [_Face(points, None) for points in _points(one)] for name, one in zip(names, array, strict=True)}


def _plain(name: str) -> str:
    return "/".join(part for part in name.replace("\\", "/").split("/") if part not in ("", "."))


def _ends(name: str) -> list[str]:
    """a/b/c, b/c, c."""
    parts = name.split("/")
    return ["/".join(parts[start:]) for start in range(len(parts))]
