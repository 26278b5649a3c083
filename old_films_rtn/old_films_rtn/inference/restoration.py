"""Restoring a film: what the network made of every frame goes back into its luma, and is reported."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from old_films_rtn.compositing import Composite, Compositing, composite, fill_in, kept_probability, report
from old_films_rtn.flow import FlowSource
from old_films_rtn.inference.extras import Extras
from old_films_rtn.inference.kept import KeptFilm, Shot
from old_films_rtn.inference.pipeline import Stream, write_film
from old_films_rtn.inference.plan import Plan
from old_films_rtn.inference.source import Clip, Lumas
from old_films_rtn.pretrained import Restorer
from old_films_rtn.streaming import Cell, Restored, restore_windows
from old_films_rtn.video.folder import FrameFolder
from old_films_rtn.video.frame import Frame
from old_films_rtn.video.images import encoded, fingerprint, read_image
from old_films_rtn.video.io import rehearse
from shared_utils import UserError
from shared_utils.checkpoint import weights_digest

log = logging.getLogger(__name__)


GIVEN = 1 / 255
"""From which value on a pixel of a map that is given is filled in: all that is not black."""
Planes = tuple[np.ndarray, np.ndarray]


class Restoration:
    """Restoring as a ``pipeline.Process``."""

    description = "restoring"
    frames = Lumas

    def __init__(
        self,
        restorer: Restorer,
        how: Compositing,
        *,
        passes: int | None = None,
        protect: str | None = None,
        mask: str | None = None,
        extras: Extras | None = None,
        repeats: bool = True,
        published_windows: bool = False,
    ) -> None:
        """how: what of the network's output goes back. passes: how often the film is restored; as the network says where not
        given. A network that has a detector finds the defects before, or takes them from ``mask``, and fills them in.
        protect: an image or a folder (see ``FrameMasks``). mask: the same, of the defects. extras: what is written beside the
        film. repeats: restore repeated frames once. published_windows: windows of 20 frames every 10.
        """
        self.restorer, self.how, self.extras = restorer, how, extras or Extras()
        self.restorings = restorer.passes if passes is None else passes
        self.protection = FrameMasks(protect) if protect else None
        self.given = FrameMasks(mask) if mask else None
        self.repeats, self.published_windows = repeats, published_windows

    @property
    def passes(self) -> int:
        """See ``Process``."""
        return self.restorings + self.restorer.detects

    @property
    def halo(self) -> int:
        """See ``Process``."""
        return self.restorer.halo

    def job(self) -> dict[str, Any]:
        """See ``Process``."""
        return {
            "weights": weights_digest(self.restorer.state_dict()),
            "compositing": asdict(self.how),
            "passes": self.passes,
            "protect": self.protection and fingerprint(self.protection.files),
            "mask": self.given and fingerprint(self.given.files),
            "dedup": self.repeats,
            "windowing": "published" if self.published_windows else "streaming",
        }

    def flow(self, name: str) -> FlowSource:
        """See ``Process``."""
        return self.restorer.flow(name)

    def cell(self, place: torch.device, precision: str, tile: int | None) -> Cell:
        """See ``Process``."""
        return self.restorer.cell(place, precision, tile)

    def check(self, clip: Clip, size: tuple[int, int], kept: KeptFilm | None = None) -> None:
        """See ``Process``."""
        for masks in (self.protection, self.given):
            if masks is not None:
                masks.check(clip, size, None if kept is None else kept.shots.length)

    def tried(self) -> int:
        """See ``Process``."""
        return 0

    def rehearse(self, clip: Clip, first: Frame, out: Path, plan: Plan) -> None:
        """See ``Process``."""
        self.extras.rehearse(clip.film, first, plan)
        rehearse(out, clip.film, first, **plan.video)

    def shot(self, shot: Shot, stream: Stream) -> Iterator[None]:
        """See ``Process``."""
        original = shot.lumas
        if self.restorer.detects:
            filled = original.after_pass(1)
            for _ in self._fill_in(shot, filled, stream):
                yield
            shot.finish(len(shot.originals))
            shot = replace(shot, lumas=filled)
        for number in range(int(self.restorer.detects), self.passes):
            shot = replace(shot, passed=number)
            after = original.after_pass(number + 1) if number < self.passes - 1 else None
            for result in self._results(shot, stream):
                index = shot.originals[result.index]
                output, residual = result.planes(*original.size)
                place = index - shot.first
                # What an earlier pass restored stays confirmed, though its neighbours explain it now.
                seen = output, np.where(shot.lumas.codes(place) != original.codes(place), np.inf, residual)
                if after is None:
                    self._keep(shot, index, original, seen)
                else:
                    # What is protected is so in the end; the next pass is free to see it restored.
                    made = self._composite(shot, index, index, original, seen, self.how.between)
                    shot.keep_pass(after, index, made.codes)
                yield
            if after is not None:
                shot.finish(len(shot.originals))
                shot = replace(shot, lumas=after)

    def _fill_in(self, shot: Shot, lumas: Lumas, stream: Stream) -> Iterator[None]:
        """Put the frames of a shot with their defects filled in into ``lumas``, and keep where those are."""
        if self.given is not None:
            for index in shot.originals[shot.finished :]:
                luma = shot.lumas.codes(index - shot.first)
                shot.keep_pass(lumas, index, fill_in(luma, self.given.mask(index), GIVEN).codes)
                yield
            return
        if shot.finished == len(shot.originals):
            return
        height, width = shot.lumas.size
        for number, probability in stream.detections(shot):
            index = shot.originals[number]
            found = kept_probability(probability[0, 0, :height, :width].cpu().numpy(), self.how.least_probability)
            shot.keep("found", index, encoded(np.rint(255 * found).astype(np.uint8)))
            luma = shot.lumas.codes(index - shot.first)
            shot.keep_pass(lumas, index, fill_in(luma, found, self.how.least_probability).codes)
            yield

    def _results(self, shot: Shot, stream: Stream) -> Iterable[Restored]:
        if shot.finished == len(shot.originals):
            return ()
        if self.published_windows:
            return restore_windows(stream.cell, shot.lumas, stream.source)
        return stream.frames(shot)

    def _composite(
        self,
        shot: Shot,
        index: int,
        original_index: int,
        lumas: Lumas,
        seen: Planes,
        how: Compositing,
        protect: np.ndarray | None = None,
    ) -> Composite:
        """A frame of the clip, which shows the original. seen: output and residual."""
        codes, given = lumas.codes(index - shot.first), None
        if self.given is not None:
            given = self.given.mask(index)
        elif self.restorer.detects:
            found = shot.image("found", original_index) / np.float32(255)
            given = fill_in(codes, found, how.least_probability).share
        return composite(codes, lumas.black_white, seen[0], how, seen[1], protect, given)

    def _keep(self, shot: Shot, original_index: int, lumas: Lumas, seen: Planes) -> None:
        """Keep a frame and the repeats that show it."""
        for index in shot.shown_by[original_index]:
            protect = None if self.protection is None else self.protection.mask(index)
            after = self._composite(shot, index, original_index, lumas, seen, self.how, protect)
            row = report(lumas.codes(index - shot.first), after, lumas.black_white)
            shot.keep("luma", index, encoded(after.codes))
            shot.keep("mask", index, encoded(after.defects))
            shot.keep("report", index, json.dumps(row).encode())

    def assemble(self, kept: KeptFilm, out: Path, plan: Plan) -> str:
        """See ``Process``."""
        warn_of_defects_everywhere(kept)
        with self.extras.open(kept, plan) as extras:

            def change(index: int, frame: Frame) -> Frame:
                before = extras.before(frame)
                after = frame.with_luma(kept.image("luma", index))
                extras.add(index, before, after)
                return after

            write_film(kept, out, plan, change)
        shots = kept.shots
        repeated = sum(original != index for index, original in enumerate(shots.repeats))
        return f"{out}: {shots.length} frames in {len(shots.starts)} shots, {repeated} of them repeats"


class FrameMasks:
    """Areas of a film's frames: white in one image for the whole film, or in an image for every frame of it, or of the part
    that is worked on."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.exists():
            raise UserError(f"{self.path} not found: give an image, white where it counts, or a folder of one a frame")
        self.files, self.skipped = FrameFolder(self.path).files, 0

    def check(self, clip: Clip, size: tuple[int, int], length: int | None) -> None:
        """Raise UserError unless it fits the film: size of the first image and, once the number of frames that are worked
        on is known, number of images."""
        if (found := _read(self.files[0]).shape) != size:
            raise UserError(
                f"{self.path} is {found[1]}x{found[0]}, the film {size[1]}x{size[0]}: draw it in the film's size"
            )
        if length is None:
            return
        count, whole = len(self.files), clip.first + length
        fits = count in (1, length) or (count == whole if clip.end is None else count >= whole)
        if not fits:
            raise UserError(f"{self.path} holds {count} masks for {length} frames: give one, or one a frame")
        self.skipped = 0 if count == length else clip.first

    def mask(self, index: int) -> np.ndarray:
        """(h, w) float32 in [0, 1] of a frame of the clip."""
        return _read(self.files[self.skipped + index if len(self.files) > 1 else 0])


def _read(file: Path) -> np.ndarray:
    frame = Frame(0, read_image(file), 0)
    return frame.luma.astype(np.float32) / frame.black_white[1]


def warn_of_defects_everywhere(kept: KeptFilm) -> None:
    """Warn where the map says nothing."""
    step = max(1, kept.shots.length // 50)
    areas = [kept.report(index)["area"] for index in range(0, kept.shots.length, step)]
    if np.median(areas) > 0.5:
        log.warning(
            "this network changes more than half of the picture, so the defect map says little: give --everywhere to make all "
            "its changes, or a higher --mask-threshold"
        )
