"""The two recurrences over a shot of any length, exactly, in memory that does not grow with it.

The forward state is carried from chunk to chunk. The backward state needs the future: it is swept once from the end of the
shot, kept where chunks begin, and made again inside each chunk from there. So the result does not depend on the length of
a chunk, and what is in memory is one chunk of states. With a limited look-ahead the sweep is left out, and the backward
state of a chunk starts that many frames behind it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from old_films_rtn.flow import FlowSource
from old_films_rtn.models.rtn import RTN, Direction
from old_films_rtn.models.swin import RestorationTransformer
from shared_utils import UserError, checkpoint

log = logging.getLogger(__name__)

ALIGN = 16
"""Pixels: two windows of 8 at half resolution, shifted by 4, repeat after this."""
PRECISIONS = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
_SMALLEST_TILE = 64


class Restored(NamedTuple):
    """One frame: index in the shot; output (1, c, h, w); mask (1, 1, h, w), the larger of both directions, at the ends
    of the shot that of the direction that has one; without neighbours zeros."""

    index: int
    output: Tensor
    mask: Tensor


class Cell(Protocol):
    """What a recurrence repeats: a step in a direction, and the decoder that joins both."""

    def step(
        self, direction: Direction, state: Any, x_previous: Tensor | None, x: Tensor, flow: Tensor | None
    ) -> tuple[Any, Tensor | None]:
        """The new state and the mask, from the neighbour's state (None: there is no neighbour)."""
        ...

    def decode(self, x: Tensor, backward: Any, forward: Any) -> Tensor: ...


# The network, in tiles ------------------------------------------------------------------------------------------------


def halo(transformer: RestorationTransformer) -> int:
    """Pixels around a tile that can change what is inside it, rounded up to ``ALIGN``.

    A first block sees the 7 other tokens of its window, every further one half a window more, and every convolution its
    kernel; 16 more are kept for safety: 96 for the published six blocks, for which 64 was enough in measurements.
    """
    blocks, groups = sum(len(group.blocks) for group in transformer.groups), len(transformer.groups)
    tokens = 7 + 4 * (blocks - 1) + groups + 4
    return -(-(2 * tokens + 16) // ALIGN) * ALIGN


def tiled(function: Callable[..., Tensor], inputs: Sequence[Tensor], tile: int, halo: int) -> Tensor:
    """``function`` of maps (n, c, h, w), tile by tile with a border of ``halo`` around each; equal to it on the whole.

    h, w, tile and halo are multiples of ``ALIGN``, so that the windows of a tile are windows of the whole.
    """
    height, width = inputs[0].shape[-2:]
    if tile >= max(height, width):
        return function(*inputs)
    whole = None
    for top in range(0, height, tile):
        for left in range(0, width, tile):
            bottom, right = min(top + tile, height), min(left + tile, width)
            y, x = max(0, top - halo), max(0, left - halo)
            part = function(*(maps[..., y : bottom + halo, x : right + halo] for maps in inputs))
            if whole is None:
                whole = part.new_empty((*part.shape[:2], height, width))
            whole[..., top:bottom, left:right] = part[..., top - y : bottom - y, left - x : right - x]
    return whole


def out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed, on the GPU or on the CPU."""
    return isinstance(error, torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and "not enough memory" in str(error)
    )


class TiledRunner:
    """Calls local modules on maps, in tiles and in a precision. Where memory does not suffice, the tile is halved for good,
    and the call made again.

    precision: fp32, bf16 or fp16. tile: pixels of the sides of tiles; None: the whole frame.
    """

    def __init__(self, device: torch.device | str, precision: str, tile: int | None, halo: int) -> None:
        self.device, self.precision, self.halo = torch.device(device), precision, halo
        self.tile = None if tile is None else max(ALIGN, -(-tile // ALIGN) * ALIGN)

    def autocast(self) -> Any:
        """What the network computes in."""
        kind = PRECISIONS[self.precision]
        return torch.autocast(self.device.type, kind) if kind else nullcontext()

    def __call__(self, function: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
        while True:
            longest = max(inputs[0].shape[-2:])
            try:
                with self.autocast():
                    return tiled(function, inputs, self.tile or longest, self.halo)
            except RuntimeError as error:
                if not out_of_memory(error):
                    raise
            smaller = min(self.tile or longest, longest) // 2 // ALIGN * ALIGN
            if smaller < _SMALLEST_TILE:
                raise UserError(
                    f"out of memory even in tiles of {self.tile or longest} pixels: use a smaller --chunk, or --short-side"
                )
            log.warning("out of memory: going on in tiles of %d pixels", smaller)
            self.tile = smaller
            if self.device.type == "cuda":
                torch.cuda.empty_cache()


class RestorationCell:
    """``RTN``, step by step; its transformers and its decoder run in tiles.

    precision: of the network; flow, coordinates of warps and what is composited stay float32.
    """

    def __init__(
        self, model: RTN, device: torch.device | str = "cpu", precision: str = "fp32", tile: int | None = None
    ) -> None:
        self.model = model.to(device).eval()
        self.runner = TiledRunner(device, precision, tile, halo(model.forward_transformer))

    def step(
        self, direction: Direction, state: Tensor | None, x_previous: Tensor | None, x: Tensor, flow: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """See ``Cell``; the state is the hidden state (1, channels, h, w)."""
        with self.runner.autocast():
            if state is None:
                fused, mask = self.model.embed(x, direction), None
            else:
                fused, mask = self.model.aggregate(direction, state, x_previous, x, flow)
        return self.runner(lambda part: self.model.restore(direction, part), fused), mask

    def decode(self, x: Tensor, backward: Tensor, forward: Tensor) -> Tensor:
        """The restored frame (1, c, h, w), float32."""
        return self.runner(self.model.decode, x, backward, forward).float()


# Frames, flows and states ---------------------------------------------------------------------------------------------


class Spill:
    """Tensors on disk by name. What a killed run has put there is found again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def __contains__(self, name: str) -> bool:
        return (self.folder / f"{name}.pt").is_file()

    def put(self, name: str, value: Any) -> None:
        checkpoint.save(value, self.folder / f"{name}.pt")

    def get(self, name: str, device: torch.device) -> Any:
        return checkpoint.load_tensors(self.folder / f"{name}.pt", device)

    def drop(self, name: str) -> None:
        (self.folder / f"{name}.pt").unlink(missing_ok=True)


class PairFlows:
    """Both flows between frames i and i + 1, each frame encoded once as long as pairs are asked for in order.

    With a spill, ``write`` puts the flows of a chunk there, and ``pair`` reads them back a chunk at a time.
    """

    def __init__(
        self, source: FlowSource, frames: Sequence[Tensor], spill: Spill | None = None, chunk: int | None = None
    ) -> None:
        self.source, self.frames, self.spill, self.chunk = source, frames, spill, chunk
        self._features: dict[int, Any] = {}
        self._flows: dict[int, tuple[Tensor, Tensor]] = {}

    def pair(self, i: int) -> tuple[Tensor, Tensor]:
        """(forward, backward), (1, 2, h, w): where the pixels of frame i + 1 are in frame i, and the other way."""
        if i not in self._flows and self.spill is not None:
            start = i // self.chunk * self.chunk
            if f"flows_{start:06d}" in self.spill:
                stored = self.spill.get(f"flows_{start:06d}", self.frames[i].device)
                self._flows |= {start + at: (both[:1], both[1:]) for at, both in enumerate(stored)}
        if i not in self._flows:
            a, b = self._encoded(i), self._encoded(i + 1)
            self._features = {i: a, i + 1: b}
            self._flows[i] = self.source.flow(b, a), self.source.flow(a, b)
        return self._flows[i]

    def write(self, start: int) -> None:
        """Move the flows of the chunk that begins at ``start`` from memory to the spill."""
        end = min(start + self.chunk, len(self.frames) - 1)
        if start < end:
            self.spill.put(f"flows_{start:06d}", torch.stack([torch.cat(self.pair(i)) for i in range(start, end)]))
        self._flows = {}

    def forget(self, before: int) -> None:
        """Drop the flows of the pairs before ``before``, in memory and in the spill."""
        self._flows = {i: flows for i, flows in self._flows.items() if i >= before}
        if self.spill is not None:
            for path in self.spill.folder.glob("flows_*.pt"):
                if int(path.stem[6:]) + self.chunk <= before:
                    path.unlink()

    def _encoded(self, i: int) -> Any:
        return self._features[i] if i in self._features else self.source.features(self.frames[i])


def mirrored(length: int, padded: int) -> np.ndarray:
    """Indices that continue ``range(length)`` to ``padded`` by reflection at its ends, for any two lengths."""
    if length == 1:
        return np.zeros(padded, np.int64)
    period = 2 * (length - 1)
    at = np.arange(padded) % period
    return np.where(at < length, at, period - at)


def padded(image: np.ndarray) -> np.ndarray:
    """(..., h, w) continued at the bottom and on the right by reflection, to multiples of ``ALIGN``."""
    height, width = image.shape[-2:]
    rows, columns = (mirrored(side, -(-side // ALIGN) * ALIGN) for side in (height, width))
    return image[..., rows[:, None], columns]


# The recurrences ------------------------------------------------------------------------------------------------------


@torch.no_grad()
def restore_shot(
    cell: Cell,
    frames: Sequence[Tensor],
    source: FlowSource,
    *,
    chunk: int = 40,
    lookahead: int | None = None,
    scratch: Path | None = None,
    finished: int = 0,
    on_chunk: Callable[[int], None] | None = None,
) -> Iterator[Restored]:
    """The frames of one shot, restored, in order.

    frames: of length t; each (1, c, h, w) in [-1, 1], h and w multiples of ``ALIGN``; asked for one at a time, several
        times. chunk: states kept in memory. lookahead: None: to the end of the shot, which is exact; else how many frames
        behind a chunk the backward state starts. scratch: folder for what does not stay in memory; needed where t is
        larger than the chunk. finished: frames that an earlier run with the same scratch has restored, as ``on_chunk``
        was told: called with the number of finished frames when the last frame of a chunk has been taken.
    """
    t = len(frames)
    sweep = lookahead is None and t > chunk
    if t > chunk and scratch is None:
        raise ValueError("a shot longer than a chunk needs a scratch folder")
    spill = Spill(scratch) if t > chunk else None
    flows = PairFlows(source, frames, spill if sweep else None, chunk)
    if sweep and finished < (t - 1) // chunk * chunk:
        _sweep(cell, frames, flows, spill, chunk, finished)
    forward = spill.get(f"forward_{finished:06d}", frames[0].device) if finished else None
    for start in range(finished, t, chunk):
        end = min(start + chunk, t)
        if sweep and end < t:
            entering, first = spill.get(f"backward_{end:06d}", frames[0].device), end
        else:
            entering, first = None, min(t, end + (lookahead or 0))
        behind: dict[int, tuple[Any, Tensor | None]] = {}
        for i in reversed(range(start, first)):
            neighbour = None if entering is None else frames[i + 1]
            flow = None if entering is None else flows.pair(i)[1]
            entering, mask = cell.step("backward", entering, neighbour, frames[i], flow)
            if i < end:
                behind[i] = entering, mask
        for i in range(start, end):
            x = frames[i]
            flow = flows.pair(i - 1)[0] if i else None
            forward, ahead_mask = cell.step("forward", forward, frames[i - 1] if i else None, x, flow)
            backward, behind_mask = behind.pop(i)
            yield Restored(i, cell.decode(x, backward, forward), _joined(x, ahead_mask, behind_mask))
        flows.forget(end - 1)
        if spill is not None and end < t:
            spill.put(f"forward_{end:06d}", forward)
        if on_chunk is not None:
            on_chunk(end)
        if spill is not None:
            spill.drop(f"forward_{start:06d}")
            spill.drop(f"backward_{end:06d}")


def _sweep(cell: Cell, frames: Sequence[Tensor], flows: PairFlows, spill: Spill, chunk: int, finished: int) -> None:
    """Put the backward state of the first frame of every chunk but the first into the spill, from the last one on."""
    t = len(frames)
    starts = [start for start in range(finished + chunk, t, chunk)]
    begun = next((start for start in starts if f"backward_{start:06d}" in spill), t)
    state = None if begun == t else spill.get(f"backward_{begun:06d}", frames[0].device)
    for i in reversed(range(finished + chunk, begun)):
        neighbour, flow = (None, None) if state is None else (frames[i + 1], flows.pair(i)[1])
        state, _ = cell.step("backward", state, neighbour, frames[i], flow)
        if i % chunk == 0:
            flows.write(i)
            spill.put(f"backward_{i:06d}", state)


def _joined(x: Tensor, *masks: Tensor | None) -> Tensor:
    present = [mask.float() for mask in masks if mask is not None]
    return torch.stack(present).amax(0) if present else x.new_zeros(1, 1, *x.shape[-2:])


def window_schedule(length: int, window: int = 20, step: int = 10) -> list[tuple[int, int, int]]:
    """(start, stop, kept from) of the published windows over a film: each keeps what the one before did not reach.

    Raises UserError where the windows would leave frames out.
    """
    if not 0 < step <= window:
        raise UserError(f"windows of {window} frames cannot advance by {step}: the step is 1 to {window}")
    rows, start, reached = [], 0, 0
    while reached < length:
        stop = min(start + window, length)
        rows.append((start, stop, reached))
        start, reached = start + step, stop
    return rows


@torch.no_grad()
def restore_windows(
    cell: Cell, frames: Sequence[Tensor], source: FlowSource, *, window: int = 20, step: int = 10
) -> Iterator[Restored]:
    """The frames of a film as the published script restores them: in windows that know nothing of each other.

    Only for comparison: the last frames that a window keeps have no future, so quality pulses with the step. What the
    windows have in common, the flows, is computed once, and what is not kept, not at all.
    """
    flows = PairFlows(source, frames)
    for start, stop, kept in window_schedule(len(frames), window, step):
        behind: dict[int, tuple[Any, Tensor | None]] = {}
        state = None
        for i in reversed(range(kept, stop)):
            neighbour, flow = (None, None) if state is None else (frames[i + 1], flows.pair(i)[1])
            state, mask = cell.step("backward", state, neighbour, frames[i], flow)
            behind[i] = state, mask
        state = None
        for i in range(start, stop):
            neighbour, flow = (None, None) if state is None else (frames[i - 1], flows.pair(i - 1)[0])
            state, ahead_mask = cell.step("forward", state, neighbour, frames[i], flow)
            if i >= kept:
                backward, behind_mask = behind.pop(i)
                yield Restored(i, cell.decode(frames[i], backward, state), _joined(frames[i], ahead_mask, behind_mask))
        flows.forget(start + step)
