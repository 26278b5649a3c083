"""Restoring a film: what the network made of every frame goes back into its luma, and is reported."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from old_films_rtn.compositing import Compositing, composite, report
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
from shared_utils import UserError
from shared_utils.checkpoint import weights_digest

log = logging.getLogger(__name__)


class Restoration:
    """Restoring as a ``pipeline.Process``."""

    description = "restoring"
    frames = Lumas

    def __init__(
        self,
        restorer: Restorer,
        how: Compositing,
        *,
        protect: str | None = None,
        extras: Extras | None = None,
        repeats: bool = True,
        published_windows: bool = False,
    ) -> None:
        """how: what of the network's output goes back. protect: an image or a folder (see ``Protection``). extras: what is
        written beside the film. repeats: restore repeated frames once. published_windows: windows of 20 frames every 10.
        """
        self.restorer, self.how, self.extras = restorer, how, extras or Extras()
        self.protection = Protection(protect) if protect else None
        self.repeats, self.published_windows = repeats, published_windows

    @property
    def halo(self) -> int:
        """See ``Process``."""
        return self.restorer.halo

    def job(self) -> dict[str, Any]:
        """See ``Process``."""
        return {
            "weights": weights_digest(self.restorer.state_dict()),
            "compositing": asdict(self.how),
            "protect": self.protection and fingerprint(self.protection.files),
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
        if self.protection is not None and kept is not None:
            length = kept.shots.length
            self.protection.check(size, length if clip.end else clip.first + length)

    def shot(self, shot: Shot, stream: Stream) -> Iterator[int]:
        """See ``Process``."""
        if self.published_windows:
            yield from self.keep(shot, restore_windows(stream.cell, shot.lumas, stream.source))
        else:
            yield from self.keep(shot, stream.frames(shot))

    def keep(self, shot: Shot, restored: Iterable[Restored]) -> Iterator[int]:
        """Keep every frame of a shot that ``restored`` (its originals) shows; yields how many originals are kept."""
        for result in restored:
            output, mask = result.planes(*shot.lumas.size)
            for index in shot.shown_by[shot.originals[result.index]]:
                before, black_white = shot.lumas.codes(index - shot.first), shot.lumas.black_white
                protected = None if self.protection is None else self.protection.mask(shot.skipped + index)
                after = composite(before, black_white, output, mask, self.how, protected)
                row = report(before, after, black_white, mask, self.how.threshold(mask))
                shot.keep("luma", index, encoded(after))
                shot.keep("mask", index, encoded(np.rint(mask * 255).astype(np.uint8)))
                shot.keep("report", index, json.dumps(row).encode())
            yield result.index + 1

    def assemble(self, kept: KeptFilm, out: Path, plan: Plan) -> str:
        """See ``Process``."""
        warn_of_dull_masks(kept)
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


class Protection:
    """Areas that stay as they are: white in one image for the whole film, or in an image for every frame."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.files = FrameFolder(self.path).files

    def check(self, size: tuple[int, int], length: int) -> None:
        """Raise UserError unless it fits the film: size of the first image, number of images."""
        if len(self.files) not in (1, length):
            raise UserError(f"{self.path} holds {len(self.files)} masks for {length} frames: give one, or one a frame")
        if (found := self.mask(0).shape) != size:
            raise UserError(
                f"{self.path} is {found[1]}x{found[0]}, the film {size[1]}x{size[0]}: draw it in the film's size"
            )

    def mask(self, index: int) -> np.ndarray:
        """(h, w) float32 in [0, 1]."""
        file = self.files[index if len(self.files) > 1 else 0]
        frame = Frame(index, read_image(file), index)
        return frame.luma.astype(np.float32) / frame.black_white[1]


def warn_of_dull_masks(kept: KeptFilm) -> None:
    """Warn where the masks say nothing."""
    step = max(1, kept.shots.length // 50)
    middle = [kept.report(index) for index in range(0, kept.shots.length, step)]
    if all(0.4 < row["mean_mask"] < 0.6 and row["spread_mask"] < 0.05 for row in middle):
        log.warning(
            "the masks are near 0.5 everywhere: this model does not find defects; the masks, the report and --only-masked "
            "mean nothing with it"
        )
