"""Lists of pictures with persons and cameras, and how pictures are found on disk."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from luperson_nl.data import tar_pictures
from luperson_nl.data.decoding import decode
from shared_utils import UserError

ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".ppm")  # in any case; the content may be of another kind
UNKNOWN = -1


@dataclass(frozen=True)
class ImageList:
    """Pictures of one part of a data set.

    Args:
        paths: (n,) text, the files, or members of tar files (``tar_pictures``).
        pid: (n,) int64, the person as the data set numbers it.
        camera: (n,) int64, -1 where it is not known.
        video: (n,) int64, the recording that the frame number counts in, -1 where it is not known.
        frame: (n,) int64, -1 where it is not known.
    """

    paths: np.ndarray
    pid: np.ndarray
    camera: np.ndarray
    video: np.ndarray
    frame: np.ndarray

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, rows: np.ndarray) -> ImageList:
        return ImageList(self.paths[rows], self.pid[rows], self.camera[rows], self.video[rows], self.frame[rows])

    @property
    def num_ids(self) -> int:
        """Number of persons."""
        return len(np.unique(self.pid))

    def labels(self) -> np.ndarray:
        """The persons as 0..C-1, in the order of their numbers: (n,) int64."""
        return np.unique(self.pid, return_inverse=True)[1]


def image_list(
    rows: Iterable[tuple[str, int, int]] | Iterable[tuple[str, int, int, int, int]],
) -> ImageList:
    """A list of (path, pid, camera) or (path, pid, camera, video, frame), in the given order."""
    given = [tuple(row) + (UNKNOWN,) * (5 - len(row)) for row in rows]
    paths, *numbers = zip(*given, strict=True) if given else ((), (), (), (), ())
    return ImageList(np.array(paths, dtype=str), *(np.array(column, dtype=np.int64) for column in numbers))


@dataclass
class Found:
    """What was met in folders: pictures by their ending, other files, and pictures that were left out with the reason."""

    endings: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)

    def pictures(self, folder: Path) -> Iterator[Path]:
        """The pictures of a folder, by name; what is not a picture is counted."""
        for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
            ending = os.path.splitext(entry.name)[1]  # noqa: PTH122 (no object a file)
            if entry.name.startswith(".") or entry.is_dir():
                continue
            if ending.lower() in ENDINGS:
                self.endings[ending] += 1
                yield folder / entry.name
            else:
                self.dropped[f"not a picture ({ending or 'no ending'})"] += 1

    def __str__(self) -> str:
        counts = ", ".join(f"{count:,} {ending}" for ending, count in sorted(self.endings.items()))
        left_out = ", ".join(f"{count:,} {reason}" for reason, count in sorted(self.dropped.items()))
        return counts + (f"; left out: {left_out}" if left_out else "")


def find_images(folder: str | Path) -> list[Path]:
    """All pictures below a folder, by their path.

    Raises:
        UserError: there is no such folder, or no picture in it.
    """
    folder = Path(folder)
    if not folder.exists():
        raise UserError(f"{folder} not found: check the path")
    found = Found()
    images = [
        path
        for place, folders, _ in os.walk(folder)
        if not folders.sort() and not any(part.startswith(".") for part in Path(place).relative_to(folder).parts)
        for path in found.pictures(Path(place))
    ]
    if not images:
        raise UserError(f"{folder} holds no picture ({', '.join(ENDINGS)})")
    return images


def read_image(path: str | Path) -> np.ndarray:
    """A picture as (h, w, 3) uint8 RGB.

    Raises:
        UserError: it is empty or cannot be read.
    """
    content = tar_pictures.content(path)
    image = decode(content)
    if image is None:
        what = "cannot be read as a picture" if content else "is empty (0 bytes)"
        raise UserError(f"{path} {what}: replace it, or take it out of the data")
    return image
