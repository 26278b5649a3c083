"""What is kept on disk until a film is put together: its shots, and lossless images of what its frames became."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Callable, Collection, Iterator
from dataclasses import asdict, dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from old_films_rtn.inference.source import Clip, Lumas
from old_films_rtn.video.frame import to_unit
from old_films_rtn.video.images import read_image
from old_films_rtn.video.shots import Shots, find_shots, read_cuts, within_shots
from shared_utils import distributed, files
from shared_utils.logging import progress
from shared_utils.work import Work

log = logging.getLogger(__name__)


@dataclass
class Shot:
    """One shot being worked on: its frames are first to end of the clip, which begins ``skipped`` frames into the film;
    ``folder`` holds what is kept of it. passed: how many passes through the network it has behind it."""

    number: int
    first: int
    end: int
    skipped: int
    repeats: list[int]
    folder: Path
    lumas: Lumas
    passed: int = 0
    _unsynced: list[Path] = field(default_factory=list)

    @cached_property
    def originals(self) -> list[int]:
        """Frames of the clip that are not repeats, in order."""
        return sorted(self.shown_by)

    @cached_property
    def shown_by(self) -> dict[int, list[int]]:
        """The frames of the clip that show an original: itself and its repeats."""
        frames: dict[int, list[int]] = {}
        for index, original in enumerate(self.repeats, start=self.first):
            frames.setdefault(original, []).append(index)
        return frames

    @property
    def scratch(self) -> Path:
        """The folder of the states that do not stay in memory."""
        return self.folder / f"scratch_{self.passed}"

    @property
    def finished(self) -> int:
        """How many originals an earlier run has finished in this pass."""
        return files.read_json(self._marker, "count of finished frames") if self._marker.is_file() else 0

    @property
    def _marker(self) -> Path:
        return self.folder / f"finished_{self.passed}.json"

    def keep(self, kind: str, index: int, content: bytes) -> None:
        """Keep what a frame of the clip became; safe on disk from the next ``finish`` on."""
        path = self.folder / _file_name(kind, index)
        path.write_bytes(content)
        self._unsynced.append(path)

    def keep_pass(self, lumas: Lumas, index: int, codes: np.ndarray) -> None:
        """Keep what a pass made of a frame of the clip; safe on disk from the next ``finish`` on."""
        lumas.put(index - self.first, codes)
        if lumas.path not in self._unsynced:
            self._unsynced.append(lumas.path)

    def image(self, kind: str, index: int) -> np.ndarray:
        """A kept image of a frame of the clip."""
        return read_image(self.folder / _file_name(kind, index))

    def finish(self, originals: int) -> None:
        """Record that so many originals are finished in this pass, and all that is kept of them on disk."""
        for path in self._unsynced:
            with path.open("rb") as file:
                os.fsync(file.fileno())
        self._unsynced.clear()
        files.write_json(originals, self._marker)


class KeptFilm:
    """A clip's shots and finished frames in the folder of a ``Work``; a shot is a part of it."""

    def __init__(self, work: Work, clip: Clip, cuts: str, repeats: bool) -> None:
        """Find the shots, or read what an earlier run has found; frames count from the clip's first.

        cuts: auto, off, or a CSV of first frames. repeats: look for frames that repeat the one before.
        """
        self.work, self.clip = work, clip
        path = work.folder / "shots.json"
        if distributed.rank() == 0 and not (work.resumed and path.is_file()):
            files.write_json(asdict(_shots_of(clip, cuts, repeats)), path)
        distributed.barrier()
        self.shots = Shots(**files.read_json(path, "list of shots"))

    def missing(self) -> dict[int, int]:
        """How many frames the shots of this rank have that are not done, by number."""
        spans = self.shots.spans()
        left = (number for number in distributed.share(range(len(spans))) if not self.work.has(_part(number)))
        return {number: spans[number][1] - spans[number][0] for number in left}

    def process(
        self,
        process: Callable[[Shot], Iterator[None]],
        frames: type[Lumas],
        device: torch.device,
        description: str,
        passes: int = 1,
        chosen: Collection[int] | None = None,
    ) -> None:
        """``process`` every shot of this rank that is not done; it yields for every original and pass that it finishes.

        frames: how the network sees the frames of a shot. chosen: only these shots.
        """
        spans = self.shots.spans()
        missing = {number for number in self.missing() if chosen is None or number in chosen}

        def finished_frames() -> Iterator[None]:
            decoded = self.clip.frames()
            for number, (first, end) in enumerate(spans):
                if number not in missing:
                    for _ in islice(decoded, end - first):
                        pass
                    continue
                folder = self.work.place(_part(number))
                lumas = frames(folder / "lumas.raw", device)
                lumas.write(islice(decoded, end - first))
                shot = Shot(number, first, end, self.clip.first, self.shots.repeats[first:end], folder, lumas)
                lumas.chosen = [index - first for index in shot.originals]
                yield from process(shot)
                shot.finish(len(shot.originals))
                for raw in folder.glob("*.raw"):
                    raw.unlink()
                for scratch in folder.glob("scratch_*"):
                    shutil.rmtree(scratch, ignore_errors=True)
                self.work.mark(_part(number))

        originals = sum(
            sum(self.shots.repeats[index] == index for index in range(*spans[number])) for number in missing
        )
        for _ in progress(finished_frames(), description, total=passes * originals):
            pass
        distributed.barrier()

    def shot_of(self, index: int) -> int:
        """The number of the shot that a frame belongs to."""
        return self.shots.shot_of(index)

    def image(self, kind: str, index: int) -> np.ndarray:
        """A kept image of a frame."""
        return read_image(self._path(kind, index))

    def report(self, index: int) -> dict[str, Any]:
        """The kept report of a frame."""
        return json.loads(self._path("report", index).read_text())

    def _path(self, kind: str, index: int) -> Path:
        return self.work.place(_part(self.shot_of(index))) / _file_name(kind, index)


def _shots_of(clip: Clip, cuts: str, repeats: bool) -> Shots:
    lumas = (to_unit(frame.luma, frame.black_white) for frame in progress(clip.frames(), "reading"))
    found = find_shots(lumas, cuts == "auto", repeats)
    if cuts not in ("auto", "off"):
        starts = read_cuts(cuts, clip.first + found.length)
        found.starts = sorted({max(0, start - clip.first) for start in starts})
        found.repeats = within_shots(found)
    if clip.film.damage:
        log.warning("%s is damaged (%s): %d frames decode", clip.film.path, clip.film.damage, found.length)
    return found


def _part(number: int) -> str:
    return f"shot_{number:05d}"


def _file_name(kind: str, index: int) -> str:
    return f"{kind}_{index:07d}.{'json' if kind == 'report' else 'png'}"
