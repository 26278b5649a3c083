"""The videos of a build: files, folders of frames, MOTChallenge sequences, or a folder of any of them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from shared_utils import UserError
from shared_utils.video import IMAGES, natural_order, open_source

VIDEOS = frozenset(
    {
        ".3gp",
        ".avi",
        ".flv",
        ".h264",
        ".m2ts",
        ".m4v",
        ".mjpeg",
        ".mkv",
        ".mov",
        ".mp4",
        ".mpeg",
        ".mpg",
        ".mts",
        ".ogv",
        ".ts",
        ".vob",
        ".webm",
        ".wmv",
        ".y4m",
    }
)


@dataclass(frozen=True)
class Video:
    """A video by its name (slashes for folders): a file, or a folder of frames."""

    name: str
    path: Path

    @property
    def sequence(self) -> Path:
        """The folder of a MOTChallenge sequence, for one of frames."""
        return self.path.parent if self.path.name == "img1" else self.path

    def facts(self) -> list:
        """Name and size, for the description of a job: the content of thousands of videos is not read for it."""
        size = len(_images(self.path)) if self.path.is_dir() else self.path.stat().st_size
        return [self.name, size]


def _images(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.suffix.lower() in IMAGES]


def find_videos(data: str | Path) -> list[Video]:
    """The videos at a path, sorted by name.

    Raises:
        UserError: there is none.
    """
    root = Path(data)
    if root.is_file():
        return [Video(root.stem, root)]
    if not root.is_dir():
        raise UserError(f"{root} not found: give a video, a folder of frames, or a folder of videos")
    if _images(root):
        return [Video(root.resolve().name, root)]
    if (root / "img1").is_dir() and _images(root / "img1"):
        return [Video(root.resolve().name, root / "img1")]
    found = list(_below(root, root))
    if not found:
        kinds = ", ".join(sorted(VIDEOS))
        raise UserError(f"no videos ({kinds}, any case) and no frames in {root}: give a folder that has some")
    shared = {name for name, count in Counter(video.name for video in found).items() if count > 1}
    found = [Video(f"{v.name}{v.path.suffix}", v.path) if v.name in shared else v for v in found]
    return sorted(found, key=lambda video: [natural_order(Path(part)) for part in video.name.split("/")])


def _below(root: Path, folder: Path) -> Iterator[Video]:
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_file() and path.suffix.lower() in VIDEOS:
            yield Video(path.relative_to(root).with_suffix("").as_posix(), path)
        elif path.is_dir() and _images(path):
            named = path.parent if path.name == "img1" else path
            yield Video(named.relative_to(root).as_posix(), path)
        elif path.is_dir():
            yield from _below(root, path)


@dataclass(frozen=True)
class Frames:
    """An opened video. size: (width, height) of its upright pictures; numbers: of the frames of a folder."""

    video: Video
    size: tuple[int, int]
    numbers: list[int] | None

    @classmethod
    def open(cls, video: Video) -> Frames:
        """Open a video.

        Raises:
            UserError: nothing of it can be read.
        """
        source = open_source(video.path)
        numbers = _numbers(sorted(_images(video.path), key=natural_order)) if video.path.is_dir() else None
        return cls(video, (source.size[1], source.size[0]), numbers)

    def read(self, last: int) -> Iterator[tuple[int, np.ndarray | None]]:
        """(number from 1, RGB picture or None where it cannot be decoded) of the frames to ``last``, one after the other.

        Frames of a folder have the numbers in their names, so that a missing one doesn't shift those after it.
        """
        for frame in open_source(self.video.path).frames():
            number = self.numbers[frame.index] if self.numbers else frame.index + 1
            if number > last:
                return
            yield number, frame.image


def _numbers(paths: list[Path]) -> list[int] | None:
    """The numbers in the names of frames, from 1 (one more where a 0 is among them); None where they have none."""
    digits = [re.findall(r"\d+", path.stem) for path in paths]
    if not all(digits):
        return None
    numbers = [int(found[-1]) for found in digits]
    if len(set(numbers)) < len(numbers) or sorted(numbers) != numbers:
        return None
    return [number + (numbers[0] == 0) for number in numbers]
