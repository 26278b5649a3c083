"""Landmarks that are there already: one file a video, one file a frame, or one JSON for many videos.

- ``clip.npy``: (T, n, 2), n of 5, 68 or 468 points, one row a frame of the video as it is stored.
- ``clip.pkl``: the list of the lip-reading code, None for a frame in which no face was found.
- ``clip.npz``: the same under ``data`` or as its only array.
- ``clip/0000.npy, 0001.npy, ...``: one file a frame, as LipForensics keeps them.
- a JSON of ``{"clip.mp4": {"frames": T, "every": [0, 5, ...], "landmarks_xy": [points, ...]}}`` for many videos; without
  ``every`` there is an entry a frame, and null where no face was found.

The kind of points is told by their number. Pickles are read as plain values: nothing in them is executed.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from av_deepfake.landmarks.points import KINDS
from shared_utils import UserError, plain_pickle
from shared_utils.video import natural_order

ENDINGS = (".npy", ".npz", ".pkl", ".json")
_EXPECTED = f"(frames, {' | '.join(map(str, KINDS))}, 2), one face a frame"


def landmarks_of(video: str, place: str | Path) -> tuple[Path, list[np.ndarray | None]]:
    """The landmarks of one video.

    Args:
        video: its name relative to the folder of the videos, ``a/clip.mp4``.
        place: a folder with ``a/clip.npy`` (or .npz, .pkl, .json, or a folder ``a/clip``), or the file itself.

    Returns:
        Where they were found, and (n, 2) float64 points of each frame, None where no face was found.

    Raises:
        UserError: nothing is found for it, or what is found is no landmarks of one face; the file and the fix are named.
    """
    place = Path(place)
    if place.is_file():
        return place, read(place, video)
    if not place.is_dir():
        raise UserError(f"{place} not found: --landmarks is a file, or a folder with a file of landmarks a video")
    stem = place / Path(video).with_suffix("")
    for path in (*(stem.with_name(stem.name + ending) for ending in ENDINGS), stem):
        if path.exists():
            return path, read(path, video)
    raise UserError(
        f"{stem}.npy not found (nor {', '.join(ENDINGS[1:])}, nor a folder {stem}): add the landmarks of {video}, "
        "or leave --landmarks out to detect faces"
    )


def read(path: str | Path, video: str = "") -> list[np.ndarray | None]:
    """The landmarks in a file, or in a folder of one file a frame. ``video`` chooses the entry of a JSON of many.

    Raises:
        UserError: see ``landmarks_of``.
    """
    path = Path(path)
    try:
        if path.is_dir():
            return _folder(path)
        if path.suffix.lower() not in ENDINGS:
            raise ValueError(f"known are {', '.join(ENDINGS)}")
        if path.suffix.lower() == ".json":
            return _json(json.loads(path.read_text()), video)
        with path.open("rb") as stream:
            if path.suffix.lower() == ".npz":
                return _frames(_archive(stream))
            return _frames(plain_pickle.load(stream) if path.suffix.lower() == ".pkl" else _array(stream))
    except FileNotFoundError:
        raise UserError(f"{path} not found: check the path of the landmarks") from None
    except (ValueError, KeyError, TypeError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} cannot be used as landmarks ({error}): expected {_EXPECTED}") from None


def _frames(content: Any) -> list[np.ndarray | None]:
    """Points by frame of whatever a file holds."""
    if isinstance(content, np.ndarray) and content.dtype != object:
        content = content[None] if content.ndim == 2 and content.shape[1] == 2 else content
        if content.ndim == 2:  # a row of x y x y ... a frame
            content = content.reshape(len(content), -1, 2)
        if content.ndim < 3:
            raise ValueError(f"it holds an array of {content.shape}")
    frames = [_points(entry, number) for number, entry in enumerate(content)]
    kinds = {len(points) for points in frames if points is not None}
    if len(kinds) > 1:
        raise ValueError(f"frames of {' and '.join(map(str, sorted(kinds)))} points")
    if not kinds:
        raise ValueError("no frame has a face")
    return frames


def _points(entry: Any, number: int) -> np.ndarray | None:
    """(n, 2) of one frame, None where there is no face."""
    if isinstance(entry, np.ndarray) and entry.dtype == object:
        entry = entry.tolist()
    if isinstance(entry, Sequence) and entry and isinstance(entry[0], dict):
        if len(entry) > 1:
            raise ValueError(f"frame {number} has {len(entry)} faces: keep the points of one")
        entry = entry[0]
    if isinstance(entry, dict):
        entry = entry["facial_landmarks"] if "facial_landmarks" in entry else entry["landmarks_xy"]
    if entry is None or len(entry) == 0:
        return None
    points = np.asarray(entry, np.float64)
    if points.ndim == 3 and len(points) == 1:
        points = points[0]
    if points.ndim == 3:
        raise ValueError(f"frame {number} has {len(points)} faces, its points are {points.shape}: keep those of one")
    if points.ndim != 2 or points.shape[0] not in KINDS or points.shape[1] < 2:
        raise ValueError(f"frame {number} has points of {points.shape}")
    points = points[:, :2]
    return points if np.isfinite(points).all() else None


def _folder(folder: Path) -> list[np.ndarray | None]:
    paths = sorted(folder.glob("*.npy"), key=natural_order)
    if not paths:
        raise ValueError("the folder holds no .npy, one a frame")
    frames = []
    for path in paths:
        with path.open("rb") as stream:
            points = _array(stream)
        if points.ndim != 2:
            raise ValueError(f"{path.name} holds {points.shape}, not the points of one face")
        frames.append(points)
    return _frames(frames)


def _json(content: Any, video: str) -> list[np.ndarray | None]:
    if isinstance(content, dict):
        names = (video, Path(video).name, Path(video).stem)
        entry = next((content[name] for name in names if name in content), None)
        if entry is None:
            raise ValueError(f"it has no entry {video}")
    else:
        entry = content
    if isinstance(entry, dict):
        points, every = entry["landmarks_xy"], entry.get("every")
        if every is not None:
            spread: list[Any] = [None] * max(int(entry.get("frames", 0)), max(every, default=-1) + 1)
            for number, one in zip(every, points, strict=True):
                spread[number] = one
            points = spread
        entry = points
    return _frames(entry)


def _archive(stream: IO[bytes]) -> Any:
    with zipfile.ZipFile(stream) as archive:
        names = archive.namelist()
        name = "data.npy" if "data.npy" in names else names[0] if len(names) == 1 else None
        if name is None:
            raise ValueError(f"it holds several arrays ({', '.join(names[:4])}, ...): keep one, or call it data")
        with archive.open(name) as member:
            return _array(member)


def _array(stream: IO[bytes]) -> np.ndarray:
    """The array of a .npy; one of objects is read as a pickle of plain values."""
    version = np.lib.format.read_magic(stream)
    header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, kind = header(stream)
    if kind.hasobject:
        content = plain_pickle.load(stream)
        return content if isinstance(content, np.ndarray) else np.array([content], object)
    count = int(np.prod(shape))
    data = stream.read(count * kind.itemsize)
    if len(data) < count * kind.itemsize:
        raise ValueError("it ends too early")
    return np.frombuffer(data, kind).reshape(shape, order="F" if fortran else "C")
