"""Films that are folders of frames: scans in natural order of their names."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np

from old_films_rtn.video.frame import Frame
from old_films_rtn.video.images import IMAGE_SUFFIXES, encoded, image_files, read_image
from shared_utils import UserError


class FrameFolder:
    """A folder of frames in natural order of their names, or one image; other files in it are skipped."""

    time_base, rate, origin = Fraction(1, 24), Fraction(24), 0

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.files = image_files(self.path) if self.path.is_dir() else [self.path]
        if not self.files:
            raise UserError(f"{path} holds no frames: expected files such as 00001.png ({', '.join(IMAGE_SUFFIXES)})")
        self.damage: str | None = None

    def frames(self) -> Iterator[Frame]:
        """Every frame; raises UserError naming the file that cannot be read, or the first two of different sizes or depths."""
        first: Frame | None = None
        for index, file in enumerate(self.files):
            frame = Frame(index, read_image(file), index, file.name)
            first = first or frame
            if frame.size != first.size:
                height, width = frame.size
                raise UserError(
                    f"frames of different sizes: {first.name} is {first.size[1]}x{first.size[0]}, {file.name} is "
                    f"{width}x{height}; scale or crop them to one size"
                )
            if frame.bits != first.bits:
                raise UserError(
                    f"frames of different depths: {first.name} has {first.bits} bits, {file.name} {frame.bits}; convert them"
                )
            yield frame


class FolderWriter:
    """Frames into a folder, under the names they have in the folder ``like`` (JPEG and BMP become PNG), else numbered; used
    as a context manager.

    The files are written beside the folder and moved into it at the end; what else is in the folder stays there.
    """

    def __init__(self, path: str | Path, like: FrameFolder | None = None) -> None:
        self.path = Path(path)
        self.temporary = self.path.with_name(f".{self.path.name}.tmp")
        names = [file.name for file in like.files] if like is not None else []
        names = [
            name if name.lower().endswith((".png", ".tif", ".tiff")) else f"{Path(name).stem}.png" for name in names
        ]
        self._names = names if len(set(names)) == len(names) else []

    def __enter__(self) -> FolderWriter:
        shutil.rmtree(self.temporary, ignore_errors=True)
        self.temporary.mkdir(parents=True)
        return self

    def write(self, frame: Frame) -> None:
        """Add a frame; video frames become grey or RGB images of at least their bit depth."""
        image = frame.image
        if not isinstance(image, np.ndarray):
            image = _grey(frame) if frame.grey else frame.rgb(8 if frame.bits == 8 else 16)
        name = self._names[frame.index] if self._names else f"{frame.index:06d}.png"
        (self.temporary / name).write_bytes(encoded(image, Path(name).suffix))

    def __exit__(self, kind: type | None, *_: object) -> None:
        if kind is None:
            self.path.mkdir(parents=True, exist_ok=True)
            for file in self.temporary.iterdir():
                file.replace(self.path / file.name)
        shutil.rmtree(self.temporary, ignore_errors=True)


def _grey(frame: Frame) -> np.ndarray:
    """The luma over the whole range of its type: 10 bits to 16, by repeating the high bits."""
    luma = frame.luma
    if frame.bits in (8, 16):
        return luma
    wide = luma.astype(np.uint32) << (16 - frame.bits)
    return (wide | (wide >> frame.bits)).astype(np.uint16)
