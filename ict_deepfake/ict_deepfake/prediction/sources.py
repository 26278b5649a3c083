"""What is looked at: pictures and sampled frames of videos, one after the other, none read ahead."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ict_deepfake.faces.pictures import IMAGES, read_picture
from shared_utils import UserError
from shared_utils.video import natural_order, open_source

VIDEOS = {".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".flv", ".ts"}
TOGETHER = 64
"""Pictures, or sampled frames of a video, of one part of the work: what is done again at most after an interruption."""


@dataclass(frozen=True, eq=False)
class Shot:
    """A picture or frame. image: uint8 RGB; None where it cannot be read, and why."""

    source: str
    image: np.ndarray | None
    frame: int | None = None
    time: float | None = None
    why: str = ""

    @property
    def name(self) -> str:
        """As a file of landmarks calls it: clip.mp4#12."""
        return self.source if self.frame is None else f"{self.source}#{self.frame}"


@dataclass(frozen=True)
class Part:
    """Some of what is looked at: several pictures, or a stretch of a video (start, stop in seconds)."""

    name: str
    sources: tuple[str, ...]
    start: float = 0.0
    stop: float | None = None
    every: int | None = None


@dataclass(frozen=True)
class Collection:
    """Files below a folder, each by its name relative to it."""

    root: Path
    names: tuple[str, ...]

    def path(self, name: str) -> Path:
        """Where a file lies."""
        return self.root / name

    def facts(self) -> list[list[str | int]]:
        """Names and sizes: what a result depends on."""
        return [[name, self.path(name).stat().st_size] for name in self.names]


def is_video(path: str | Path) -> bool:
    """By the ending of its name."""
    return Path(path).suffix.lower() in VIDEOS


def collect(path: str | Path, limit: int | None = None, leave_out: str | Path | None = None) -> Collection:
    """The pictures and videos that are meant: a file, or all of a folder and its folders.

    Args:
        path: the file or folder.
        limit: at most so many files of a folder.
        leave_out: a folder below it that is none of them: where the results go.

    Raises:
        UserError: there is nothing, or nothing of a known kind.
    """
    path = Path(path)
    kinds = f"a picture ({', '.join(sorted(IMAGES))}), a video ({', '.join(sorted(VIDEOS))}) or a folder of them"
    if path.is_file():
        if path.suffix.lower() not in IMAGES | VIDEOS:
            raise UserError(f"{path} is not of a known kind: give {kinds}")
        return Collection(path.parent, (path.name,))
    if not path.is_dir():
        raise UserError(f"{path} not found: give {kinds}")
    own = Path(leave_out).resolve() if leave_out is not None else None
    found = [
        file
        for file in path.rglob("*")
        if file.suffix.lower() in IMAGES | VIDEOS
        and not any(part.startswith(".") for part in file.relative_to(path).parts)
        and not (own is not None and own != path.resolve() and file.resolve().is_relative_to(own))
    ]
    if not found:
        raise UserError(f"{path} holds no picture and no video: give {kinds}")
    found.sort(key=lambda file: (file.parent, natural_order(file)))
    return Collection(path, tuple(file.relative_to(path).as_posix() for file in found[:limit]))


def parts(collection: Collection, every: int, limit: int | None = None) -> list[Part]:
    """The work in parts that can be finished one by one.

    Args:
        collection: the files.
        every: of a video, each so many frames.
        limit: of a video, at most so many sampled frames.
    """
    pictures = [name for name in collection.names if not is_video(name)]
    found = [
        Part(f"pictures/{start:06d}", tuple(pictures[start : start + TOGETHER]))
        for start in range(0, len(pictures), TOGETHER)
    ]
    for number, name in enumerate(name for name in collection.names if is_video(name)):
        found += _stretches(f"videos/{number:05d}", name, collection.path(name), every, limit)
    return found


def _stretches(label: str, name: str, path: Path, every: int, limit: int | None) -> list[Part]:
    try:
        source = open_source(path)
    except UserError:
        return [Part(f"{label}/0000", (name,), every=every)]  # reading it says what is wrong
    frames = source.length
    cut = limit is not None and (frames is None or limit * every < frames)
    if limit is not None and cut:
        frames = limit * every
    length = TOGETHER * every / source.frame_rate
    count = max(1, math.ceil(frames / (TOGETHER * every))) if frames else 1
    stretches = []
    for number in range(count):
        stop = (number + 1) * length
        if number == count - 1:
            stop = frames / source.frame_rate if cut and frames else None
        stretches.append(Part(f"{label}/{number:04d}", (name,), number * length, stop, every))
    return stretches


def shots(collection: Collection, part: Part) -> Iterator[Shot]:
    """The pictures, or the sampled frames, of a part."""
    if part.every is None:
        for name in part.sources:
            try:
                yield Shot(name, read_picture(collection.path(name)))
            except UserError as error:
                yield Shot(name, None, why=str(error))
        return
    (name,) = part.sources
    yield from video_shots(name, collection.path(name), part.every, part.start, part.stop)


def video_shots(name: str, path: Path, every: int, start: float = 0.0, stop: float | None = None) -> Iterator[Shot]:
    """Each ``every``-th frame of a video, by its time, so that stretches of it join without a seam."""
    try:
        source = open_source(path, start=start, stop=stop)
    except UserError as error:
        yield Shot(name, None, why=str(error))
        return
    last = -1
    for frame in source.frames():
        # A millisecond is what containers round times by; never a frame of the next stretch.
        number = math.floor((frame.time + 1e-3) * source.frame_rate)
        # Of frames with times of their own, the first one of each interval.
        interval = number // every
        if interval == last:
            continue
        last = interval
        why = "" if frame.image is not None else f"frame {number} of {name} cannot be decoded"
        yield Shot(name, frame.image, number, frame.time, why)
