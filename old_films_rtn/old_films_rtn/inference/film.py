"""Films shot by shot: analysis, a folder of what is finished, and the assembly of the result.

What a frame became is kept as a lossless image until the whole film is done, so a killed run loses at most one chunk, and
the result of a resumed run is that of an unbroken one: files are only put together from finished frames.
"""

from __future__ import annotations

import csv
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from old_films_rtn import published
from old_films_rtn.colour import AB_SCALE, ColourRTN, Keys, from_lab, lightness, load_colour
from old_films_rtn.flow import FlowSource, flow_source
from old_films_rtn.inference.compositing import Compositing, composite, report
from old_films_rtn.inference.streaming import (
    RestorationCell,
    Restored,
    TiledRunner,
    halo,
    padded,
    restore_shot,
    restore_windows,
)
from old_films_rtn.models.raft import RAFT
from old_films_rtn.models.rtn import Direction
from old_films_rtn.video.io import (
    Frame,
    FrameFolder,
    VideoFile,
    encoded,
    grey_at_short_side,
    open_output,
    read_image,
    to_unit,
)
from old_films_rtn.video.shots import Shots, find_shots, read_cuts, write_cuts
from shared_utils import UserError, checkpoint, distributed
from shared_utils import logging as reporting

log = logging.getLogger(__name__)

STATE_BYTES = 16 * 4 + 16
"""Of a pixel, for a frame inside a chunk: the hidden state in float32, and both flows."""
TRANSFORMER_BYTES = 1500
"""Of a pixel, at the peak of the published transformer in float32 (1250 to 1430 measured)."""


@dataclass(frozen=True)
class Clip:
    """The part of a film that is worked on: frames first to end (end None: to the last), all made smaller where
    ``short_side`` is given."""

    film: VideoFile | FrameFolder
    first: int = 0
    end: int | None = None
    short_side: int | None = None

    def frames(self) -> Iterator[Frame]:
        for frame in islice(self.film.frames(), self.first, self.end):
            if self.short_side:
                small = grey_at_short_side(frame.rgb(), self.short_side)
                frame = Frame(frame.index, small, frame.pts, frame.name)
            yield frame

    def size(self) -> tuple[int, int]:
        """(height, width) of the frames. Raises UserError where there are none."""
        first = next(self.frames(), None)
        if first is None:
            raise UserError(f"{self.film.path} has no frame {self.first}: give --frames inside the film")
        return first.size


class Lumas:
    """The luma planes of a shot in a file, so that any of them can be had without decoding the film again.

    As a sequence: tensors (1, 3, h, w) in [-1, 1], padded, of the frames ``chosen`` (indices in the shot).
    """

    def __init__(self, path: Path, device: torch.device) -> None:
        self.path, self.device = path, device
        self.chosen: list[int] = []

    def write(self, frames: Iterable[Frame]) -> None:
        """Fill the file; every frame of the film has the size, type and range of its first."""
        with self.path.open("wb") as file:
            for frame in frames:
                luma = np.ascontiguousarray(frame.luma)
                self.size, self.kind, self.black_white = luma.shape, luma.dtype, frame.black_white
                file.write(luma.tobytes())

    def codes(self, index: int) -> np.ndarray:
        """(h, w) luma codes of a frame of the shot."""
        count = int(np.prod(self.size))
        offset = index * count * self.kind.itemsize
        return np.fromfile(self.path, self.kind, count, offset=offset).reshape(self.size)

    def __len__(self) -> int:
        return len(self.chosen)

    def __getitem__(self, position: int) -> Tensor:
        luma = padded(to_unit(self.codes(self.chosen[position]), self.black_white))
        return torch.from_numpy(luma).to(self.device).expand(1, 3, -1, -1)


@dataclass
class Shot:
    """One shot being worked on: its frames are first to end of the film; ``folder`` holds what is kept of it."""

    number: int
    first: int
    end: int
    repeats: list[int]
    folder: Path
    lumas: Lumas
    _unsynced: list[Path] = field(default_factory=list)

    @cached_property
    def originals(self) -> list[int]:
        """Frames of the film that are no repeats, in order."""
        return sorted(self.shown_by)

    @cached_property
    def shown_by(self) -> dict[int, list[int]]:
        """The frames of the film that show an original: itself and its repeats."""
        frames: dict[int, list[int]] = {}
        for index, original in enumerate(self.repeats, start=self.first):
            frames.setdefault(original, []).append(index)
        return frames

    @property
    def finished(self) -> int:
        """How many originals an earlier run has finished."""
        marker = self.folder / "finished.json"
        return json.loads(marker.read_text()) if marker.is_file() else 0

    def keep(self, kind: str, index: int, content: bytes) -> None:
        """Keep what a frame of the film became; safe on disk from the next ``finish`` on."""
        path = self.folder / kept_name(kind, index)
        path.write_bytes(content)
        self._unsynced.append(path)

    def finish(self, originals: int) -> None:
        for path in self._unsynced:
            with path.open("rb") as file:
                os.fsync(file.fileno())
        self._unsynced.clear()
        checkpoint.write_json(originals, self.folder / "finished.json")


class Work:
    """The hidden folder beside the output in which finished frames wait for the assembly."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.folder = out.with_name(f".{out.name}.work")

    def begin(self, job: dict[str, Any], resume: bool, overwrite: bool) -> None:
        """Start, or go on with what an interrupted run has left.

        job: what the result depends on; a run is only gone on with under the same. Raises UserError otherwise.
        """
        before = self.folder / "job.json"
        if before.is_file():
            if resume:
                old = json.loads(before.read_text())
                differing = [key for key in job if old.get(key) != job[key]]
                if differing:
                    raise UserError(
                        f"the interrupted run in {self.folder} had another {', '.join(differing)}: repeat its arguments, "
                        "or start again with --overwrite and without --resume"
                    )
                return
            if not overwrite:
                raise UserError(
                    f"an interrupted run is in {self.folder}: go on with --resume, or start again with --overwrite"
                )
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        checkpoint.write_json(job, before)

    def shots(self, clip: Clip, cuts: str, repeats: bool) -> Shots:
        """The shots of the clip, from an earlier run or found now; frames count from the clip's first."""
        path = self.folder / "shots.json"
        if path.is_file():
            return Shots(**json.loads(path.read_text()))
        seen = reporting.progress(clip.frames(), "reading")
        lumas = (to_unit(frame.luma, frame.black_white) for frame in seen)
        found = find_shots(lumas, cuts == "auto", repeats)
        if cuts not in ("auto", "off"):
            starts = read_cuts(cuts, clip.first + found.length)
            found.starts = sorted({max(0, start - clip.first) for start in starts})
            found.repeats = _within_shots(found)
        if clip.film.damage:
            log.warning("%s is damaged (%s): %d frames decode", clip.film.path, clip.film.damage, found.length)
        checkpoint.write_json(asdict(found), path)
        return found

    def run(
        self,
        clip: Clip,
        shots: Shots,
        device: torch.device,
        process: Callable[[Shot], Iterator[int]],
        description: str,
        frames_of: type[Lumas] | None = None,
    ) -> None:
        """``process`` every shot of this rank that is not done; it yields the number of originals it has finished."""
        spans = shots.spans()
        mine = set(distributed.share(range(len(spans))))

        def finished_frames() -> Iterator[int]:
            frames = clip.frames()
            for number, (first, end) in enumerate(spans):
                folder = self.folder / f"shot_{number:05d}"
                if number not in mine or (folder / "done").is_file():
                    for _ in islice(frames, end - first):
                        pass
                    continue
                folder.mkdir(exist_ok=True)
                lumas = (frames_of or Lumas)(folder / "lumas.raw", device)
                lumas.write(islice(frames, end - first))
                shot = Shot(number, first, end, shots.repeats[first:end], folder, lumas)
                lumas.chosen = [index - first for index in shot.originals]
                yield from process(shot)
                shot.finish(len(shot.originals))
                lumas.path.unlink()
                shutil.rmtree(folder / "scratch", ignore_errors=True)
                (folder / "done").touch()

        originals = sum(
            sum(shots.repeats[index] == index for index in range(*spans[number]))
            for number in mine
            if not (self.folder / f"shot_{number:05d}" / "done").is_file()
        )
        for _ in reporting.progress(finished_frames(), description, total=originals):
            pass
        distributed.barrier()

    def kept(self, shots: Shots, index: int, kind: str) -> Path:
        """The image of a frame."""
        number = int(np.searchsorted(shots.starts, index, side="right")) - 1
        return self.folder / f"shot_{number:05d}" / kept_name(kind, index)

    def end(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


def kept_name(kind: str, index: int) -> str:
    return f"{kind}_{index:07d}.{'json' if kind == 'report' else 'png'}"


def _within_shots(shots: Shots) -> list[int]:
    starts = np.asarray(shots.starts)
    first = starts[np.searchsorted(starts, range(shots.length), side="right") - 1]
    return [
        index if original < begin else original
        for index, (original, begin) in enumerate(zip(shots.repeats, first, strict=True))
    ]


def fingerprint(film: VideoFile | FrameFolder) -> str:
    """Changes when the film does: names, sizes and times of its files."""
    files = film.files if isinstance(film, FrameFolder) else [film.path]
    facts = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return hashlib.sha256(json.dumps([str(film.path.resolve()), facts]).encode()).hexdigest()


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


def restore_frames(
    shot: Shot,
    restored: Iterable[Restored],
    how: Compositing,
    protection: Protection | None,
    clip_first: int,
) -> Iterator[int]:
    """Keep every frame of a shot that ``restored`` (frames of its originals) shows; yields how many originals are kept."""
    height, width = shot.lumas.size
    for result in restored:
        output = result.output[0].float().mean(0)[:height, :width].cpu().numpy()
        mask = result.mask[0, 0, :height, :width].cpu().numpy()
        for index in shot.shown_by[shot.originals[result.index]]:
            before = shot.lumas.codes(index - shot.first)
            protected = None if protection is None else protection.mask(clip_first + index)
            after = composite(before, shot.lumas.black_white, output, mask, how, protected)
            row = report(before, after, shot.lumas.black_white, mask, how.threshold(mask))
            shot.keep("luma", index, encoded(after))
            shot.keep("mask", index, encoded(np.rint(mask * 255).astype(np.uint8)))
            shot.keep("report", index, json.dumps(row).encode())
        yield result.index + 1


def assemble(
    work: Work,
    clip: Clip,
    shots: Shots,
    *,
    masks: str | None = None,
    side_by_side: str | None = None,
    report_csv: str | None = None,
    overwrite: bool = False,
    **video: Any,
) -> None:
    """Put the finished frames together: the film, and where asked for its masks, a comparison and the report.

    video: options of ``VideoWriter`` for the film.
    """
    rows = []
    with ExitStack() as stack:
        writer = stack.enter_context(open_output(work.out, clip.film, overwrite=True, **video))
        extra = {
            name: stack.enter_context(
                open_output(path, clip.film, overwrite=overwrite, sound=False, **_only_rate(video))
            )
            for name, path in (("masks", masks), ("side_by_side", side_by_side))
            if path
        }
        frames = reporting.progress(clip.frames(), "writing", total=shots.length)
        for index, frame in enumerate(frames):
            luma = read_image(work.kept(shots, index, "luma"))
            before = frame.rgb() if "side_by_side" in extra else None
            after = frame.with_luma(luma)
            if "side_by_side" in extra:
                beside = np.concatenate([before, after.rgb()], axis=1)
                extra["side_by_side"].write(Frame(frame.index, beside, frame.pts, frame.name))
            if "masks" in extra:
                mask = read_image(work.kept(shots, index, "mask"))
                extra["masks"].write(Frame(frame.index, mask, frame.pts, frame.name))
            if report_csv:
                row = json.loads(work.kept(shots, index, "report").read_text())
                rows.append({"frame": frame.index, "seconds": round(float(frame.pts * clip.film.time_base), 4)} | row)
            writer.write(after)
    if report_csv:
        write_report(rows, shots, clip.first, report_csv)


def _only_rate(video: dict[str, Any]) -> dict[str, Any]:
    return {name: video[name] for name in ("rate", "part") if name in video}


def write_report(rows: Sequence[dict[str, Any]], shots: Shots, first: int, path: str | Path) -> None:
    """The defect report as CSV, with the shot of every frame and the frame that it repeats."""
    starts = np.asarray(shots.starts)
    with checkpoint.replacing(path) as temporary, temporary.open("w", newline="") as file:
        table = csv.DictWriter(file, ["frame", "seconds", "shot", "repeats", *list(rows[0])[2:]])
        table.writeheader()
        for index, row in enumerate(rows):
            original = shots.repeats[index]
            row = {name: f"{value:.5g}" if isinstance(value, float) else value for name, value in row.items()}
            shot = int(np.searchsorted(starts, index, side="right")) - 1
            table.writerow(row | {"shot": shot, "repeats": "" if original == index else original + first})


def restore_film(
    film: VideoFile | FrameFolder,
    out: Path,
    how: Compositing,
    *,
    ckpt: str | None = None,
    flow: str = "auto",
    protect: str | None = None,
    masks: str | None = None,
    side_by_side: str | None = None,
    report_csv: str | None = None,
    cuts: str = "auto",
    dedup: bool = True,
    span: tuple[int, int | None] = (0, None),
    short_side: int | None = None,
    published_windows: bool = False,
    chunk: int | None = None,
    lookahead: int | None = None,
    tile: int | None = None,
    memory: float = 4.0,
    precision: str = "fp32",
    device: str = "auto",
    video: dict[str, Any] | None = None,
    resume: bool = False,
    overwrite: bool = False,
) -> None:
    """Restore a film; the arguments are those of ``restore.py``."""
    clip = Clip(film, *span, short_side)
    protection = Protection(protect) if protect else None
    size = clip.size()
    with distributed.process_group():
        place = usable_device(device)
        ckpt = published.checkpoint_of(ckpt or published.TRAVELLING)
        loaded = published.load(ckpt)
        source = _flow_on(flow, loaded.raft, place, memory)
        chunk = chunk or chunk_for(size, memory)
        cell = RestorationCell(
            loaded.rtn, place, precision, tile or tile_for(size, memory, halo(loaded.rtn.forward_transformer))
        )
        work = Work(out)
        if distributed.rank() == 0:
            job = {
                "film": fingerprint(film),
                "ckpt": file_digest(ckpt),
                "flow": flow,
                "compositing": asdict(how),
                "protect": protect,
                "cuts": cuts,
                "dedup": dedup,
                "frames": list(span),
                "short_side": short_side,
                "windowing": published_windows,
                "chunk": chunk,
                "lookahead": lookahead,
                "precision": precision,
            }
            work.begin(job, resume, overwrite)
            work.shots(clip, cuts, dedup)
        distributed.barrier()
        shots = work.shots(clip, cuts, dedup)
        if protection is not None:
            protection.check(size, shots.length if clip.end else clip.first + shots.length)

        def process(shot: Shot) -> Iterator[int]:
            if published_windows:
                restored, finished = restore_windows(cell, shot.lumas, source), 0
            else:
                finished = shot.finished
                restored = restore_shot(
                    cell,
                    shot.lumas,
                    source,
                    chunk=chunk,
                    lookahead=lookahead,
                    scratch=shot.folder / "scratch",
                    finished=finished,
                    on_chunk=shot.finish,
                )
            yield from restore_frames(shot, restored, how, protection, clip.first)

        work.run(clip, shots, place, process, "restoring")
        if distributed.rank() == 0:
            mask_report(work, shots)
            assemble(
                work,
                clip,
                shots,
                masks=masks,
                side_by_side=side_by_side,
                report_csv=report_csv,
                overwrite=overwrite or resume,
                **(video or {}),
            )
            if report_csv:
                write_cuts(shots, Path(report_csv).with_suffix(".cuts.csv"))
            work.end()
            repeated = sum(original != index for index, original in enumerate(shots.repeats))
            print(f"{out}: {shots.length} frames in {len(shots.starts)} shots, {repeated} of them repeats")


def usable_device(name: str) -> torch.device:
    """The device of a name. Raises UserError where nothing can be computed there."""
    try:
        place = distributed.choose_device(name)
        torch.empty(1, device=place)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"--device {name} cannot be used ({str(error).splitlines()[0]}): give auto or cpu") from None
    return place


def _flow_on(name: str, raft: RAFT | None, place: torch.device, memory: float) -> FlowSource:
    source = flow_source(name, raft)
    if isinstance(source, RAFT):
        source.to(place).volume_limit = int(memory * 1e9 / 4)
    return source


def chunk_for(size: tuple[int, int], memory: float) -> int:
    """Frames whose states fit into half of ``memory`` GB."""
    return max(8, min(400, int(memory * 5e8 / (STATE_BYTES * size[0] * size[1]))))


def tile_for(size: tuple[int, int], memory: float, halo: int) -> int | None:
    """The largest tile for which the transformer stays in half of ``memory`` GB; None: the whole frame."""
    pixels = memory * 5e8 / TRANSFORMER_BYTES
    if size[0] * size[1] <= pixels:
        return None
    return max(128, (int(pixels**0.5) - 2 * halo) // 16 * 16)


def mask_report(work: Work, shots: Shots) -> None:
    """Warn where the masks say nothing."""
    middle = [
        json.loads(work.kept(shots, index, "report").read_text())
        for index in range(0, shots.length, max(1, shots.length // 50))
    ]
    if all(0.4 < row["mean_mask"] < 0.6 and row["spread_mask"] < 0.05 for row in middle):
        log.warning(
            "the masks are near 0.5 everywhere: this model tells no defects apart; the masks, the report and --only-masked "
            "mean nothing with it"
        )


def file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# Colour ---------------------------------------------------------------------------------------------------------------


class ColourCell:
    """``ColourRTN``, step by step, in tiles and in a chosen precision (see ``RestorationCell``)."""

    def __init__(
        self, model: ColourRTN, device: torch.device | str = "cpu", precision: str = "fp32", tile: int | None = None
    ) -> None:
        self.model = model.to(device).eval()
        self.runner = TiledRunner(device, precision, tile, halo(model.forward_transformer))

    def step(
        self, direction: Direction, state: Tensor | None, x_previous: Tensor | None, x: Tensor, flow: Tensor | None
    ) -> tuple[Tensor, None]:
        """The state is hidden state and carried colour (1, channels + 3, h, w); there is no mask."""
        with self.runner.autocast():
            return self.model.step(direction, state, x_previous, x, flow, self.runner), None

    def decode(self, x: Tensor, backward: Tensor, forward: Tensor) -> Tensor:
        """a and b (1, 2, h, w), divided by ``AB_SCALE``."""
        return self.model.decode(x, backward, forward, self.runner)


class CarryCell:
    """Colour that is only carried along the flow: ``ColourRTN`` before training, without its network."""

    def __init__(self) -> None:
        self.model = ColourRTN(width=16, depths=(1,), num_heads=1)

    def step(
        self, direction: Direction, state: Tensor | None, x_previous: Tensor | None, x: Tensor, flow: Tensor | None
    ) -> tuple[Tensor, None]:
        """The state is the carried colour (1, 3, h, w)."""
        return self.model.carry(state, x_previous, x, flow), None

    def decode(self, x: Tensor, backward: Tensor, forward: Tensor) -> Tensor:
        """a and b (1, 2, h, w), divided by ``AB_SCALE``."""
        return torch.where(x[:, 3:] > 0, x[:, 1:3], self.model.arrived(backward, forward)[:, :2])


class ColourFrames(Lumas):
    """The frames of a shot as ``ColourRTN`` takes them: lightness, and the colour of key-frames."""

    keys: Keys

    def lightness(self, index: int) -> np.ndarray:
        """(h, w) L - 50 of a frame of the shot."""
        return lightness((to_unit(self.codes(index), self.black_white) + 1) / 2)

    def __getitem__(self, position: int) -> Tensor:
        grey = self.lightness(position)
        ab = self.keys.ab(self.first + position, self.size, grey)
        grey = grey[None] / 50
        known = np.full_like(grey, ab is not None)
        colour = np.zeros((2, *self.size), np.float32) if ab is None else ab / AB_SCALE
        frame = padded(np.concatenate([grey, colour, known]).astype(np.float32))
        return torch.from_numpy(frame)[None].to(self.device)


class OnLightness:
    """A flow source that sees the lightness of colour frames alone."""

    def __init__(self, source: FlowSource) -> None:
        self.source = source

    def features(self, frames: Tensor) -> Any:
        return self.source.features(frames[:, :1].expand(-1, 3, -1, -1))

    def flow(self, a: Any, b: Any) -> Tensor:
        return self.source.flow(a, b)


def colour_film(
    film: VideoFile | FrameFolder,
    out: Path,
    keys: Keys,
    *,
    ckpt: str | None = None,
    flow: str = "auto",
    cuts: str = "auto",
    span: tuple[int, int | None] = (0, None),
    chunk: int | None = None,
    lookahead: int | None = None,
    tile: int | None = None,
    memory: float = 4.0,
    precision: str = "fp32",
    device: str = "auto",
    video: dict[str, Any] | None = None,
    resume: bool = False,
    overwrite: bool = False,
) -> None:
    """Colour a film; the arguments are those of ``colorize.py``. Shots without a key-frame stay as they are."""
    clip = Clip(film, *span)
    size = clip.size()
    for index in keys.files:
        keys.ab(index, size)
    with distributed.process_group():
        place = usable_device(device)
        source = OnLightness(_flow_on(flow, None, place, memory))
        chunk = chunk or chunk_for(size, memory)
        if ckpt is None:
            cell = CarryCell()
        else:
            ckpt = published.checkpoint_of(ckpt)
            model = load_colour(ckpt)
            cell = ColourCell(model, place, precision, tile or tile_for(size, memory, halo(model.forward_transformer)))
        work = Work(out)
        if distributed.rank() == 0:
            job = {
                "film": fingerprint(film),
                "align": keys.align,
                "keys": {str(index): file_digest(file) for index, file in sorted(keys.files.items())},
                "ckpt": file_digest(ckpt) if ckpt else None,
                "flow": flow,
                "cuts": cuts,
                "frames": list(span),
                "chunk": chunk,
                "lookahead": lookahead,
                "precision": precision,
            }
            work.begin(job, resume, overwrite)
            work.shots(clip, cuts, repeats=False)
        distributed.barrier()
        shots = work.shots(clip, cuts, repeats=False)
        if span == (0, None):
            keys.check(shots.length)
        coloured = [any(first <= index < end for index in keys.files) for first, end in shots.spans()]

        def process(shot: Shot) -> Iterator[int]:
            if not coloured[shot.number]:
                log.warning("no key-frame in the shot of frames %d to %d: it stays as it is", shot.first, shot.end - 1)
                yield from shot.originals
                return
            frames = shot.lumas
            frames.keys, frames.first = keys, shot.first
            for result in restore_shot(
                cell,
                frames,
                source,
                chunk=chunk,
                lookahead=lookahead,
                scratch=shot.folder / "scratch",
                finished=shot.finished,
                on_chunk=shot.finish,
            ):
                ab = result.output[0, :, : size[0], : size[1]].cpu().numpy() * AB_SCALE
                rgb = from_lab(np.concatenate([frames.lightness(result.index)[None], ab]))
                image = np.rint(rgb.transpose(1, 2, 0) * 65535).astype(np.uint16)
                shot.keep("colour", shot.first + result.index, encoded(image))
                yield result.index + 1

        work.run(clip, shots, place, process, "colouring", ColourFrames)
        if distributed.rank() == 0:
            with open_output(out, film, overwrite=True, **(video or {})) as writer:
                for index, frame in enumerate(reporting.progress(clip.frames(), "writing", total=shots.length)):
                    if coloured[int(np.searchsorted(shots.starts, index, side="right")) - 1]:
                        frame = frame.with_colour(read_image(work.kept(shots, index, "colour")) / np.float32(65535))
                    elif frame.grey:  # an encoder takes one kind of picture
                        frame = frame.with_colour(frame.rgb(16) / np.float32(65535))
                    writer.write(frame)
            work.end()
            print(f"{out}: {shots.length} frames in {len(shots.starts)} shots, {sum(coloured)} of them in colour")
