"""The published format, a JSON list of pictures for real ones and one for fake ones, and our own list of one file."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ict_deepfake.data.test_sets.sets import FAKE, REAL, Clip, RootMap, TestSet, existing
from shared_utils import UserError, files

_FRAME = re.compile(r"^(?P<video>.*?[^_\-])[_\-]+(?:frame[_\-]?)?\d+$")
_PAIR = re.compile(r"^\d{3}_\d{3}$")


def published(real: Path, fake: Path, roots: RootMap, base: Path | None = None) -> TestSet:
    """Two lists of paths, each of frames; frames are of one video where their names differ in the last number alone.

    Args:
        real: JSON list of paths.
        fake: likewise.
        roots: for paths of another machine.
        base: what relative paths begin at; the folder of each list where None.
    """
    clips: list[Clip] = []
    missing: list[str] = []
    for path, label, method in ((real, REAL, "real"), (fake, FAKE, "fake")):
        listed = files.read_json(path, "list of pictures")
        if not isinstance(listed, list) or not all(isinstance(name, str) for name in listed):
            raise UserError(f'{path}: expected a list of paths, ["a.png", ...]')
        if not listed:
            raise UserError(f"no {method} paths in {path}")
        clips += _clips(listed, label, method, roots, base or path.parent, missing)
    return TestSet(fake.stem.removeprefix("paths_of_"), clips, missing)


def _clips(
    listed: Sequence[str], label: int, method: str, roots: RootMap, base: Path, missing: list[str]
) -> list[Clip]:
    videos: dict[str, list[str]] = {}
    for name in listed:
        videos.setdefault(video_of(name), []).append(name)
    clips = []
    for video, names in videos.items():
        ordered = sorted(names, key=_frame_of)
        frames = existing([roots(name, base) for name in ordered], ordered, missing)
        if frames:
            clips.append(Clip(f"{method}/{video}", label, method, frames))
    return clips


def _stem(name: str) -> tuple[str, str]:
    folder, _, file = name.replace("\\", "/").rpartition("/")
    return folder, file.rsplit(".", 1)[0]


def video_of(name: str) -> str:
    """The video of a frame by its path: what stands before the last number of its name; its folder where the name is a number."""
    folder, stem = _stem(name)
    if stem.isdecimal():
        return folder or stem
    found = None if _PAIR.match(stem) else _FRAME.match(stem)
    return f"{folder}/{found['video'] if found else stem}".lstrip("/")


def _frame_of(name: str) -> int:
    stem = _stem(name)[1]
    found = re.search(r"(\d+)$", stem)
    return int(found[1]) if found else 0


def entries(path: Path, roots: RootMap, base: Path | None = None) -> TestSet:
    """A JSON list of {"file", "label"[, "method"]}, a picture each: what ``make_swaps`` writes.

    Args:
        path: the list.
        roots: for paths of another machine.
        base: what relative paths begin at; the folder of the list where None.
    """
    content = files.read_json(path, "list of test pictures")
    if not isinstance(content, list) or not content:
        raise UserError(f'{path}: expected a list of {{"file": ..., "label": 0 or 1}}')
    clips: list[Clip] = []
    missing: list[str] = []
    for number, row in enumerate(content, start=1):
        name, label = _entry(path, number, row)
        frames = existing([roots(name, base or path.parent)], [name], missing)
        method = "/".join(str(row[key]) for key in ("method", "mask") if row.get(key)) if label == FAKE else "real"
        if frames:
            clips.append(Clip(name, label, method or "fake", frames))
    return TestSet(path.parent.name or path.stem, clips, missing)


def _entry(path: Path, number: int, row: Any) -> tuple[str, int]:
    if not isinstance(row, Mapping) or not isinstance(row.get("file"), str) or row.get("label") not in (REAL, FAKE):
        raise UserError(f"{path}, entry {number}: file and label (0 real, 1 fake) are needed, got {row}")
    return row["file"], int(row["label"])
