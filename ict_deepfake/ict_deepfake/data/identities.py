"""Pictures of people whose identity is known, wherever they are: a folder, a list, a RecordIO file, memory."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ict_deepfake.data.recordio import RecordFile, picture_records
from ict_deepfake.faces.found import five_of_68
from ict_deepfake.faces.landmark_files import LandmarkFile
from ict_deepfake.faces.pictures import IMAGES, pictures_in, read_picture
from shared_utils import UserError, files

ARCFACE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]], np.float32
)
"""Where InsightFace's 112-px crops have eyes, nose tip and mouth corners."""
_COORDINATES = tuple(f"{axis}{number}" for number in range(1, 6) for axis in "xy")


class IdentitySource(ABC):
    """Pictures by number.

    Attributes:
        identity: (n,) int64, 0..C-1.
        names: of the C identities.
    """

    identity: np.ndarray
    names: list[str]

    def __len__(self) -> int:
        return len(self.identity)

    @abstractmethod
    def image(self, i: int) -> np.ndarray:
        """(h, w, 3) uint8 RGB.

        Raises:
            UserError: it cannot be read; the message names it.
        """

    def points(self, i: int) -> np.ndarray | None:
        """The landmarks of a picture that come with the data, (5, 2) or (68, 2) pixels; None where there are none."""
        return None

    @abstractmethod
    def digest(self) -> str:
        """16 hex digits of what the source is, for descriptions of jobs."""


class PictureFiles(IdentitySource):
    """Pictures that are files.

    Args:
        rows: (path, name of the identity, landmarks or None) a picture.
        what: what the rows come from, for messages.
    """

    def __init__(self, rows: Iterable[tuple[str | Path, str, np.ndarray | None]], what: str) -> None:
        given = list(rows)
        self.paths = [Path(path) for path, _, _ in given]
        self.names, self.identity = _numbered([name for _, name, _ in given], what)
        self._points = [points for _, _, points in given]

    def image(self, i: int) -> np.ndarray:
        return read_picture(self.paths[i])

    def points(self, i: int) -> np.ndarray | None:
        return self._points[i]

    def digest(self) -> str:
        lines = (f"{path} {path.stat().st_size} {self.identity[i]}" for i, path in enumerate(self.paths))
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


class Records(IdentitySource):
    """Pictures of a RecordIO file, of InsightFace's or im2rec's making."""

    def __init__(self, path: str | Path) -> None:
        self.file = RecordFile(path)
        self._numbers, labels = picture_records(self.file)
        self.names, self.identity = _numbered([str(label) for label in labels.tolist()], str(path))

    def image(self, i: int) -> np.ndarray:
        number = int(self._numbers[i])
        stream = io.BytesIO(self.file.picture(number))
        stream.name = f"{self.file.path}, record {self.file.keys[number]}"
        return read_picture(stream)

    def points(self, i: int) -> np.ndarray | None:
        # Their pictures are crops of 112 px, aligned to these points.
        return ARCFACE

    def digest(self) -> str:
        known = f"{self.file.path.stat().st_size} {len(self)} {self.identity.sum()}"
        return hashlib.sha256(known.encode() + self.file.offsets.tobytes()).hexdigest()[:16]


class DrawnIdentities(IdentitySource):
    """Pictures in memory.

    Args:
        images: (n, h, w, 3) uint8.
        identity: (n,) whole numbers.
        points: (n, 5 or 68, 2) or None.
    """

    def __init__(self, images: np.ndarray, identity: np.ndarray, points: np.ndarray | None) -> None:
        self.images, self._points = images, points
        known, self.identity = np.unique(identity, return_inverse=True)
        self.names = [str(name) for name in known]

    def image(self, i: int) -> np.ndarray:
        return self.images[i]

    def points(self, i: int) -> np.ndarray | None:
        return None if self._points is None else self._points[i]

    def arrays(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pictures and landmarks of many rows at once."""
        assert self._points is not None, "drawn pictures have landmarks"
        return self.images[rows], self._points[rows]

    def five_points(self) -> np.ndarray:
        """(n, 5, 2) of all pictures."""
        assert self._points is not None, "drawn pictures have landmarks"
        return five_of_68(self._points) if self._points.shape[1] == 68 else self._points

    def digest(self) -> str:
        return hashlib.sha256(self.images.tobytes() + self.identity.tobytes()).hexdigest()[:16]


class Part(IdentitySource):
    """Some identities of a source, numbered anew.

    Args:
        source: of all.
        identities: which.
    """

    def __init__(self, source: IdentitySource, identities: Sequence[int]) -> None:
        self.source = source
        self.names = [source.names[identity] for identity in identities]
        place = np.full(len(source.names), -1)
        place[list(identities)] = np.arange(len(identities))
        self.rows = np.flatnonzero(place[source.identity] >= 0)
        self.identity = place[source.identity[self.rows]]

    def image(self, i: int) -> np.ndarray:
        return self.source.image(int(self.rows[i]))

    def points(self, i: int) -> np.ndarray | None:
        return self.source.points(int(self.rows[i]))

    def digest(self) -> str:
        return hashlib.sha256((self.source.digest() + "\n".join(self.names)).encode()).hexdigest()[:16]


def _numbered(names: Sequence[str], what: str) -> tuple[list[str], np.ndarray]:
    """Names in natural order, and the number of each row's."""
    if not names:
        raise UserError(f"{what} holds no picture ({', '.join(sorted(IMAGES))})")
    known = sorted(set(names), key=lambda name: (len(name), name) if name.isdecimal() else (0, name))
    if len(known) < 2:
        raise UserError(f"{what} holds one identity, {known[0]}: faces are swapped between two or more")
    place = {name: number for number, name in enumerate(known)}
    return known, np.array([place[name] for name in names], np.int64)


def open_identities(root: str | Path, landmarks: LandmarkFile | None = None) -> IdentitySource:
    """The pictures of a data set.

    Args:
        root: a folder with one folder an identity; a folder with ``train.rec``, or a ``.rec``; a ``.csv`` or ``.json`` list
            of path, identity and, where known, x1, y1, ..., x5, y5.
        landmarks: of the pictures of a folder; a picture it does not know has none.

    Raises:
        UserError: there is nothing of the kind; what was looked for is named.
    """
    root = Path(root).expanduser()
    if root.is_dir():
        if (root / "train.rec").is_file():
            return Records(root / "train.rec")
        return _folder(root, landmarks)
    if not root.is_file():
        raise UserError(
            f"{root} not found: give a folder with one folder an identity, a folder with train.rec, or a .csv or .json list"
        )
    if root.suffix == ".rec":
        return Records(root)
    if root.suffix.lower() == ".csv":
        return _list(root, _csv_rows(root))
    if root.suffix.lower() == ".json":
        return _list(root, _json_rows(root))
    raise UserError(f"{root} is not a list of pictures: give a .csv, a .json or a .rec file, or a folder")


def _folder(root: Path, landmarks: LandmarkFile | None) -> PictureFiles:
    rows = []
    for folder in sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")):
        for path in pictures_in(folder):
            rows.append((path, folder.name, _of_file(landmarks, path)))
    if not rows:
        loose = sum(path.suffix.lower() in IMAGES for path in root.iterdir())
        found = f"it holds {loose} pictures itself" if loose else "no folder in it holds a picture"
        raise UserError(f"{root}: {found}; expected one folder an identity, {root.name}/NAME/picture.jpg, or train.rec")
    return PictureFiles(rows, str(root))


def _of_file(landmarks: LandmarkFile | None, path: Path) -> np.ndarray | None:
    """The points of a picture's only, or largest, face."""
    if landmarks is None or not landmarks.has(path):
        return None
    found = landmarks.all_points(path)
    return found[0] if len(found) == 1 else landmarks.of(path).points[0] if found else None


def _list(path: Path, rows: Iterable[tuple[int, Mapping[str, Any]]]) -> PictureFiles:
    """Rows of a list; paths are relative to its folder."""
    made, missing = [], []
    for number, row in rows:
        if not row.get("path") or row.get("identity") in (None, ""):
            raise UserError(f"{path}, row {number}: path and identity are needed, got {dict(row)}")
        place = path.parent / str(row["path"]).replace("\\", "/")
        if not place.is_file():
            missing.append(str(row["path"]))
        made.append((place, str(row["identity"]), _points(path, number, row)))
    if missing:
        raise UserError(
            f"{path}: {len(missing)} of {len(made)} files are missing, {', '.join(missing[:5])}: check the paths"
        )
    return PictureFiles(made, str(path))


def _points(path: Path, number: int, row: Mapping[str, Any]) -> np.ndarray | None:
    values = [row.get(name) for name in _COORDINATES]
    if all(value in (None, "") for value in values):
        return None
    try:
        points = np.array([float(value) for value in values], np.float32).reshape(5, 2)  # pyright: ignore[reportArgumentType]
    except (TypeError, ValueError):
        raise UserError(f"{path}, row {number}: x1, y1, ..., x5, y5 must be ten numbers, got {values}") from None
    if not np.isfinite(points).all():
        raise UserError(f"{path}, row {number}: a landmark is not finite")
    return points


def _csv_rows(path: Path) -> Iterable[tuple[int, Mapping[str, Any]]]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        if not {"path", "identity"} <= set(reader.fieldnames or ()):
            raise UserError(f"{path}: the first line must name the columns path, identity[, x1, y1, ..., x5, y5]")
        yield from enumerate(reader, start=2)


def _json_rows(path: Path) -> Iterable[tuple[int, Mapping[str, Any]]]:
    content = files.read_json(path, "list of pictures")
    if not isinstance(content, list) or not all(isinstance(row, dict) for row in content):
        kind = json.dumps(content)[:60]
        raise UserError(f'{path}: expected [{{"path": ..., "identity": ...}}, ...], got {kind}')
    yield from enumerate(content, start=1)


def donors_only(identity: np.ndarray) -> np.ndarray:
    """Which pictures can only lend their face: those of an identity with one picture, (n,) bool.

    A target needs another picture of its identity, for the genuine half of training.
    """
    return np.bincount(identity)[identity] < 2
