"""Lists: our CSV and JSON (path,label,method,video_id[,audio][,landmarks]), RealForensics' CSV, DeepfakeBench's JSON."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from av_deepfake.data.videos import FAKE, REAL, Video, VideoSet
from shared_utils import UserError, files

_REAL_WORDS, _FAKE_WORDS = ("0", "real", "REAL"), ("1", "fake", "FAKE")


def listed(path: Path, base: Path | None = None) -> VideoSet:
    """Our list: a CSV with a header, or a JSON list of objects, with the columns path and label at least.

    Args:
        path: the list.
        base: what relative paths begin at; the folder of the list where None.

    Raises:
        UserError: a row lacks a path or a label; the row is named.
    """
    start = base or path.parent
    videos, missing = [], []
    for number, row in _rows(path):
        where = f"{path}, row {number}"
        if not row.get("path") or row.get("label") is None:
            raise UserError(f"{where}: path and label are needed, got {dict(row)}")
        label = _label(str(row["label"]).strip(), where)
        method = str(row.get("method") or ("fake" if label else "real"))
        place = start / str(row["path"])
        if not place.exists():
            missing.append(str(row["path"]))
            continue
        given = row.get("video_id")
        identity = str(given) if given not in (None, "") else Path(str(row["path"])).with_suffix("").as_posix()
        more = {key: start / str(row[key]) for key in ("audio", "landmarks") if row.get(key)}
        videos.append(Video(place, label, method if label else "real", identity, **more))
    return VideoSet(path.stem, start, videos, missing)


def _label(word: str, where: str) -> int:
    if word in _REAL_WORDS:
        return REAL
    if word in _FAKE_WORDS:
        return FAKE
    raise UserError(f"{where}: label {word!r} is neither 0 (real) nor 1 (fake)")


def _rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    if path.suffix == ".json":
        content = files.read_json(path, "list of videos")
        if not isinstance(content, list) or not all(isinstance(row, Mapping) for row in content):
            raise UserError(f'{path}: expected a list of {{"path": ..., "label": 0 or 1}}')
        yield from enumerate(content, start=1)
        return
    with path.open(newline="") as stream:
        reader = csv.DictReader(stream)
        if "path" not in (reader.fieldnames or ()):
            raise UserError(
                f"{path}: the first line must name the columns path,label[,method,video_id,audio,landmarks]"
            )
        yield from enumerate(reader, start=2)


def is_real_forensics(path: Path) -> bool:
    """Whether a CSV has lines ``relative_path label`` and no header."""
    if path.suffix == ".json":
        return False
    with path.open() as stream:
        first = stream.readline().split()
    return len(first) == 2 and first[1] in ("0", "1")


def real_forensics(path: Path, base: Path | None = None) -> VideoSet:
    """RealForensics' CSV: ``relative_path label`` a line; the method is the first folder of a fake's path."""
    start = base or path.parent
    videos, missing = [], []
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        if not line.strip():
            continue
        name, _, mark = line.strip().rpartition(" ")
        label = _label(mark, f"{path}, line {number}")
        place = start / name
        if place.exists():
            videos.append(
                Video(place, label, Path(name).parts[0] if label else "real", Path(name).with_suffix("").as_posix())
            )
        else:
            missing.append(name)
    return VideoSet(path.stem, start, videos, missing)


def deepfakebench(path: Path, split: str, compression: str, base: Path | None = None) -> VideoSet:
    """DeepfakeBench's JSON: {set: {label: {split: {[c23:] {video: {"label": ..., "frames": [...]}}}}}}.

    Its 32 frames of a video are far apart: the set is marked as sparse.
    """
    content = files.read_json(path, "data set of DeepfakeBench")
    start = base or path.parent
    videos, missing = [], []
    if not isinstance(content, Mapping) or not all(isinstance(group, Mapping) for group in content.values()):
        raise UserError(f"{path} is not a data set of DeepfakeBench: expected {{set: {{label: {{split: ...}}}}}}")
    for groups in content.values():
        for name, parts in groups.items():
            label = REAL if "real" in name.lower() else FAKE
            entries = parts.get(split, {})
            entries = entries.get(compression, entries) if isinstance(entries, Mapping) else {}
            for video, entry in entries.items():
                frames = entry.get("frames") if isinstance(entry, Mapping) else None
                if not frames:
                    continue
                folder = start / Path(str(frames[0]).replace("\\", "/")).parent
                if folder.is_dir():
                    videos.append(Video(folder, label, name if label else "real", str(video)))
                else:
                    missing.append(str(folder))
    return VideoSet(path.stem, start, videos, missing, sparse=True)
