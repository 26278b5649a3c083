"""The frames that are worked on: a part of a film, and the luma planes of one of its shots."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from old_films_rtn.tiles import padded
from old_films_rtn.video.folder import FrameFolder
from old_films_rtn.video.frame import Frame, grey_at_short_side, to_unit
from old_films_rtn.video.images import fingerprint
from old_films_rtn.video.io import Film
from shared_utils import UserError


@dataclass(frozen=True)
class Clip:
    """The part of a film that is worked on: frames first to end (end None: to the last), all made smaller where
    ``short_side`` is given."""

    film: Film
    first: int = 0
    end: int | None = None
    short_side: int | None = None

    def frames(self) -> Iterator[Frame]:
        """The frames, in order."""
        for frame in islice(self.film.frames(), self.first, self.end):
            if self.short_side:
                small = grey_at_short_side(frame.rgb(), self.short_side)
                frame = Frame(frame.index, small, frame.pts, frame.name)
            yield frame

    def fingerprint(self) -> str:
        """Changes when the files of the film do."""
        return fingerprint(self.film.files if isinstance(self.film, FrameFolder) else [self.film.path])

    def first_frame(self) -> Frame:
        """The first frame. Raises UserError where there is none."""
        first = next(self.frames(), None)
        if first is None:
            raise UserError(f"{self.film.path} has no frame {self.first}: give --frames inside the film")
        return first


class Lumas:
    """The luma planes of a shot in a file, so that any of them can be had without decoding the film again.

    As a sequence: tensors (1, 3, h, w) in [-1, 1], padded, of the frames ``chosen`` (indices in the shot).
    """

    def __init__(self, path: Path, device: torch.device) -> None:
        self.path, self.device = path, device
        self.chosen: list[int] = []
        self.size: tuple[int, int] = (0, 0)

    def write(self, frames: Iterable[Frame]) -> None:
        """Fill the file; every frame of the film has the size, type and range of its first."""
        with self.path.open("wb") as file:
            for frame in frames:
                luma = np.ascontiguousarray(frame.luma)
                height, width = luma.shape
                self.size, self.kind, self.black_white = (height, width), luma.dtype, frame.black_white
                file.write(luma.tobytes())

    def after_pass(self, number: int) -> Lumas:
        """The same frames as a pass restored them, to be filled by ``put``; those of an interrupted run are kept."""
        other = Lumas(self.path.with_name(f"pass_{number}.raw"), self.device)
        other.chosen, other.size, other.kind, other.black_white = self.chosen, self.size, self.kind, self.black_white
        other.path.touch()
        return other

    def put(self, index: int, codes: np.ndarray) -> None:
        """Set the luma codes of a frame of the shot."""
        with self.path.open("r+b") as file:
            file.seek(index * codes.nbytes)
            file.write(codes.tobytes())

    def codes(self, index: int) -> np.ndarray:
        """(h, w) luma codes of a frame of the shot."""
        count = int(np.prod(self.size))
        offset = index * count * self.kind.itemsize
        return np.fromfile(self.path, self.kind, count, offset=offset).reshape(self.size)

    def unit(self, index: int) -> np.ndarray:
        """(h, w) float32 in [-1, 1] of a frame of the shot."""
        return to_unit(self.codes(index), self.black_white)

    def __len__(self) -> int:
        return len(self.chosen)

    def __getitem__(self, position: int) -> Tensor:
        luma = padded(self.unit(self.chosen[position]))
        return torch.from_numpy(luma).to(self.device).expand(1, 3, -1, -1)
