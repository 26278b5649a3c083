"""Colouring a film: the colour of key-frames is carried over their shots, and the luma stays as it is."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from old_films_rtn.colour.cells import ColourCell, OnLightness, coloured, network_frame
from old_films_rtn.colour.key_frames import Keys
from old_films_rtn.colour.lab import lightness
from old_films_rtn.flow import FlowSource
from old_films_rtn.inference.kept import KeptFilm, Shot
from old_films_rtn.inference.pipeline import Stream, write_film
from old_films_rtn.inference.plan import Plan
from old_films_rtn.inference.source import Clip, Lumas
from old_films_rtn.pretrained import Colourer, flow_source
from old_films_rtn.streaming import Cell
from old_films_rtn.video.frame import Frame
from old_films_rtn.video.images import encoded
from old_films_rtn.video.io import rehearse
from shared_utils.checkpoint import weights_digest

log = logging.getLogger(__name__)


class ColourFrames(Lumas):
    """The frames of a shot as ``ColourNetwork`` takes them: lightness, and the colour of key-frames."""

    keys: Keys
    first: int
    """The shot's first frame in the clip."""

    def lightness(self, index: int) -> np.ndarray:
        """(h, w) L - 50 of a frame of the shot."""
        return lightness((self.unit(index) + 1) / 2)

    def __getitem__(self, position: int) -> Tensor:
        grey = self.lightness(position)
        return network_frame(grey, self.keys.ab(self.first + position, self.size, grey)).to(self.device)


class Colouring:
    """Colouring as a ``pipeline.Process``. Shots without a key-frame stay as they are."""

    description = "colouring"
    repeats = False
    passes = 1
    frames = ColourFrames

    def __init__(self, colourer: Colourer, keys: Keys) -> None:
        self.colourer, self.keys = colourer, keys

    @property
    def halo(self) -> int:
        """See ``Process``."""
        return self.colourer.halo

    def job(self) -> dict[str, Any]:
        """See ``Process``."""
        state = self.colourer.state_dict()
        return {
            "weights": weights_digest(state) if state else None,
            "align": self.keys.align,
            "keys": self.keys.digests(),
        }

    def flow(self, name: str) -> FlowSource:
        """See ``Process``."""
        return flow_source(name)

    def cell(self, place: torch.device, precision: str, tile: int | None) -> Cell:
        """See ``Process``."""
        return self.colourer.cell(place, precision, tile)

    def check(self, clip: Clip, size: tuple[int, int], kept: KeptFilm | None = None) -> None:
        """See ``Process``."""
        if kept is None:
            for index in self.keys.files:
                self.keys.ab(index, size)
        elif (clip.first, clip.end) == (0, None):
            self.keys.check(kept.shots.length)

    def tried(self) -> int:
        """See ``Process``."""
        return min(self.keys.files)

    def rehearse(self, clip: Clip, first: Frame, out: Path, plan: Plan) -> None:
        """See ``Process``."""
        rehearse(out, clip.film, first.with_colour(first.rgb(16) / np.float32(65535)), **plan.video)

    def has_colour(self, first: int, end: int) -> bool:
        """Whether one of the frames first to end is given in colour."""
        return any(first <= index < end for index in self.keys.files)

    def shot(self, shot: Shot, stream: Stream) -> Iterator[None]:
        """See ``Process``."""
        if not self.has_colour(shot.first, shot.end):
            log.warning("no key-frame in the shot of frames %d to %d: it stays as it is", shot.first, shot.end - 1)
            yield from (None for _ in shot.originals)
            return
        frames = shot.lumas
        assert isinstance(frames, ColourFrames)
        frames.keys, frames.first = self.keys, shot.first
        # The flow is estimated on what all frames have.
        stream = replace(stream, source=OnLightness(stream.source))
        if isinstance(stream.cell, ColourCell):
            given = [index - shot.first for index in sorted(self.keys.files) if shot.first <= index < shot.end]
            stream = replace(stream, cell=stream.cell.with_keys(frames[index] for index in given))
        for result in stream.frames(shot):
            rgb = coloured(result, frames.lightness(result.index))
            shot.keep("colour", shot.first + result.index, encoded(np.rint(rgb * 65535).astype(np.uint16)))
            yield

    def assemble(self, kept: KeptFilm, out: Path, plan: Plan) -> str:
        """See ``Process``."""
        in_colour = [self.has_colour(*span) for span in kept.shots.spans()]

        def change(index: int, frame: Frame) -> Frame:
            if in_colour[kept.shot_of(index)]:
                return frame.with_colour(kept.image("colour", index) / np.float32(65535))
            if frame.grey:  # an encoder takes one kind of picture
                return frame.with_colour(frame.rgb(16) / np.float32(65535))
            return frame

        write_film(kept, out, plan, change)
        return f"{out}: {kept.shots.length} frames in {len(in_colour)} shots, {sum(in_colour)} of them in colour"
