"""A film through a network, shot by shot: analysis, a folder of what is finished, and the assembly of the result.

What a frame became is kept as a lossless image until the whole film is done, so a killed run loses at most one chunk, and
the result of a resumed run is that of an unbroken one: files are only put together from finished frames.
"""

from __future__ import annotations

import json
import logging
import tempfile
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import torch

from old_films_rtn.flow import FlowSource, made_again
from old_films_rtn.inference import memory, outlook, workers
from old_films_rtn.inference.kept import KeptFilm, Shot
from old_films_rtn.inference.plan import Plan
from old_films_rtn.inference.source import Clip, Lumas
from old_films_rtn.streaming import Cell, Detected, RestorationCell, Restored, detect_shot, restore_shot
from old_films_rtn.video.frame import Frame
from old_films_rtn.video.io import check_output, open_output
from shared_utils import UserError, distributed, files, work
from shared_utils.logging import progress

log = logging.getLogger(__name__)


LONG, TRIED = 100, 3
"""From how many frames on a film's work is timed before, and on how many frames."""


@dataclass(frozen=True)
class Stream:
    """The recurrences over one shot after another, as a plan and the memory there is allow them."""

    cell: Cell
    source: FlowSource
    chunk: int
    lookahead: int | None
    place: torch.device

    def frames(self, shot: Shot) -> Iterator[Restored]:
        """The originals of a shot that are not finished yet, in order."""
        return restore_shot(
            self.cell,
            shot.lumas,
            self.source,
            chunk=self.chunk,
            lookahead=self.lookahead,
            scratch=shot.scratch,
            finished=shot.finished,
            on_chunk=shot.finish,
        )

    def detections(self, shot: Shot) -> Iterator[Detected]:
        """Where the defects of the originals are that are not finished yet, in order; of a cell with a detector."""
        assert isinstance(self.cell, RestorationCell)
        return detect_shot(
            self.cell, shot.lumas, self.source, chunk=self.chunk, finished=shot.finished, on_chunk=shot.finish
        )


class Process(Protocol):
    """What is done to a film: ``Restoration`` or ``Colouring``."""

    @property
    def description(self) -> str:
        """What is done, for the progress: "restoring"."""
        ...

    @property
    def repeats(self) -> bool:
        """Whether a frame that repeats the one before is worked on once."""
        ...

    @property
    def frames(self) -> type[Lumas]:
        """How the network sees the frames of a shot."""
        ...

    @property
    def halo(self) -> int:
        """Pixels around a tile that can change what is inside it."""
        ...

    def job(self) -> dict[str, Any]:
        """What the result depends on, beside the film and the plan."""
        ...

    def flow(self, name: str) -> FlowSource: ...

    def cell(self, place: torch.device, precision: str, tile: int | None) -> Cell: ...

    def check(self, clip: Clip, size: tuple[int, int], kept: KeptFilm | None = None) -> None:
        """Raise UserError for what does not fit the film; ``kept`` once its shots are known."""
        ...

    @property
    def passes(self) -> int:
        """How often a shot goes through the network."""
        ...

    def tried(self) -> int:
        """A frame from which on the work is timed before it begins."""
        ...

    def rehearse(self, clip: Clip, first: Frame, out: Path, plan: Plan) -> None:
        """Raise UserError where an output cannot be written; first: the first frame of the clip."""
        ...

    def shot(self, shot: Shot, stream: Stream) -> Iterator[None]:
        """Keep what the frames of a shot became; yields once for every original and pass."""
        ...

    def assemble(self, kept: KeptFilm, out: Path, plan: Plan) -> str:
        """Write the film from what is kept; what to say of it."""
        ...


def process_film(process: Process, clip: Clip, out: Path, plan: Plan) -> None:
    """Run a process over a clip and write the result to ``out``; under torchrun, and with workers, the shots are shared.

    Raises:
        UserError: something does not fit the film, an interrupted run is there and neither ``plan.resume`` nor
            ``plan.overwrite`` says what to do with it, it was another job, or another process writes ``out``.
    """
    first = clip.first_frame()
    size, sample = first.size, 1 if first.bits == 8 else 2
    process.check(clip, size)
    process.rehearse(clip, first, out, plan)
    with distributed.process_group():
        stream = _stream(process, plan, size)
        job = {"film": clip.fingerprint(), **plan.job(), "chunk": stream.chunk, **process.job()}
        if plan.resume:
            adopt(out, job)
        with work.begin(work.beside_file(out), job, resume=plan.resume, overwrite=plan.overwrite) as parts:
            _check_again(parts, out, clip, plan)
            kept = KeptFilm(parts, clip, plan.cuts, process.repeats)
            process.check(clip, size, kept)
            dealt = workers.shares(kept.missing(), plan.workers)
            at_once = distributed.world_size() * max(1, len(dealt))
            needed, least = (
                outlook.disk_bytes(
                    kept.shots,
                    size,
                    sample,
                    stream.chunk,
                    ahead,
                    process.passes,
                    not made_again(stream.source),
                    at_once,
                )
                for ahead in (plan.lookahead, 0)
            )
            outlook.check_disk(parts.folder, needed, least)
            log.info(
                "%d frames in %d shots of %dx%d, gone through %d times, up to %s on disk",
                *(kept.shots.length, len(kept.shots.starts), *size[::-1], process.passes, outlook.gigabytes(needed)),
            )
            if kept.shots.length >= LONG and kept.missing() and distributed.rank() == 0:
                log.info("about %s of work, as %d frames say", *estimate(process, kept, stream))
            if len(dealt) > 1:
                workers.in_processes(_work_on, dealt, process, clip, plan, parts.folder)
            else:
                _through(process, kept, stream)
            if distributed.rank() == 0:
                print(process.assemble(kept, out, plan))
            parts.remove()


def estimate(process: Process, kept: KeptFilm, stream: Stream) -> tuple[str, int]:
    """How long one process needs for the shots that are not done, as people say it, and how many frames say so: ``TRIED``
    frames at ``process.tried`` are worked on, and thrown away."""
    start = min(max(0, process.tried()), kept.shots.length - 1)
    end = min(start + TRIED, kept.shots.spans()[kept.shots.shot_of(start)][1])
    with tempfile.TemporaryDirectory(dir=kept.work.folder) as folder:
        lumas = process.frames(Path(folder) / "lumas.raw", stream.place)
        lumas.write(islice(kept.clip.frames(), start, end))
        lumas.chosen = list(range(end - start))
        begun = time.monotonic()
        shot = Shot(0, start, end, kept.clip.first, list(range(start, end)), Path(folder), lumas)
        for _ in process.shot(shot, stream):
            pass
        seconds = (time.monotonic() - begun) / (end - start) * sum(kept.missing().values())
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{max(1, minutes)} min", end - start


def _stream(process: Process, plan: Plan, size: tuple[int, int]) -> Stream:
    place = distributed.choose_device(plan.device)
    source = memory.flow_within(process.flow(plan.flow), place, plan.memory)
    tile = plan.tile or memory.tile_for(size, plan.memory, process.halo)
    chunk = plan.chunk or memory.chunk_for(size, plan.memory)
    return Stream(process.cell(place, plan.precision, tile), source, chunk, plan.lookahead, place)


def _through(process: Process, kept: KeptFilm, stream: Stream, chosen: Collection[int] | None = None) -> None:
    kept.process(
        lambda shot: process.shot(shot, stream),
        process.frames,
        stream.place,
        process.description,
        process.passes,
        chosen,
    )


def _work_on(process: Process, clip: Clip, plan: Plan, folder: Path, chosen: list[int]) -> None:
    """What a process of ``--workers`` does: its share of the shots of a job that another process holds."""
    kept = KeptFilm(work.Work(folder, resumed=True), clip, plan.cuts, process.repeats)
    _through(process, kept, _stream(process, plan, clip.first_frame().size), chosen)


def adopt(out: Path, job: dict[str, Any]) -> None:
    """Take over the work of an interrupted run under another output name, in the same folder, where it is the same job."""
    folder = work.beside_file(out)
    if folder.exists() or distributed.rank() != 0:
        return
    for other in sorted(out.parent.glob(".*.work")):
        description = other / work.DESCRIPTION
        if not description.is_file():
            continue
        begun = files.read_json(description, "job description")
        if begun.get("job") == json.loads(json.dumps(job)):
            with files.lock(other / work.LOCK, str(other)):
                other.rename(folder)
            log.info("going on with what was begun for %s", other.name.removeprefix(".").removesuffix(".work"))
            return


def _check_again(parts: work.Work, out: Path, clip: Clip, plan: Plan) -> None:
    """Raise UserError where another process has finished the output since it was checked."""
    try:
        check_output(out, clip.film, plan.overwrite or parts.resumed)
    except UserError:
        parts.remove()
        raise


def write_film(kept: KeptFilm, out: Path, plan: Plan, change: Callable[[int, Frame], Frame]) -> None:
    """Decode the clip once more, ``change`` every frame, and write it with the sound and times of the film."""
    with open_output(out, kept.clip.film, overwrite=True, **plan.video) as writer:
        for index, frame in enumerate(progress(kept.clip.frames(), "writing", total=kept.shots.length)):
            writer.write(change(index, frame))
