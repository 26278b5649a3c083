"""The two recurrences over a shot of any length, exactly, in memory that does not grow with it.

The forward state is carried from chunk to chunk. The backward state needs the future: it is swept once from the end of the
shot, kept where chunks begin, and made again inside each chunk from there. So the result does not depend on the length of
a chunk, and what is in memory is one chunk of states. With a limited look-ahead the sweep is left out, and the backward
state of a chunk starts that many frames behind it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from old_films_rtn.detection import views
from old_films_rtn.flow import FlowSource, made_again
from old_films_rtn.models.detector import DefectDetector, probabilities
from old_films_rtn.models.rtn import RTN, Direction, warp
from old_films_rtn.pair_flows import Frames, PairFlows, Spill
from old_films_rtn.tiles import TiledRunner, halo
from shared_utils import UserError


class Restored(NamedTuple):
    """One frame: index in the shot; output (1, c, h, w); residual (1, 1, h, w), what neither neighbour explains of its first
    channel: the smaller difference to the two, along the flow. Infinite where there is no neighbour."""

    index: int
    output: Tensor
    residual: Tensor

    def planes(self, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
        """Mean over the output's channels and residual, (h, w) float32, without the padding."""
        both = self.output[0].float().mean(0), self.residual[0, 0]
        output, residual = (plane[:height, :width].cpu().numpy() for plane in both)
        return output, residual


class Detected(NamedTuple):
    """One frame before it is restored: index in the shot; probability (1, 1, h, w) that a pixel is a defect."""

    index: int
    probability: Tensor


class Cell(Protocol):
    """What a recurrence repeats: a step in a direction, and the decoder that joins both."""

    def step(
        self,
        direction: Direction,
        state: Any,
        x_previous: Tensor | None,
        x: Tensor,
        flow: Tensor | None,
        back: Tensor | None,
    ) -> Any:
        """The new state, from the neighbour's state (None: there is no neighbour); flow: to the neighbour, back: from it."""
        ...

    def decode(self, x: Tensor, backward: Any, forward: Any) -> Tensor: ...


class RestorationCell:
    """``RTN``, step by step; its transformers and its decoder run in tiles.

    precision: of the network; flow, coordinates of warps and what is composited stay float32.
    """

    def __init__(
        self, model: RTN, device: torch.device | str = "cpu", precision: str = "fp32", tile: int | None = None
    ) -> None:
        self.model = model.to(device).eval()
        self.runner = TiledRunner(device, precision, tile, halo(model.forward_transformer))
        self.detecting = TiledRunner(device, precision, tile, DefectDetector.REACH)

    def step(
        self,
        direction: Direction,
        state: Tensor | None,
        x_previous: Tensor | None,
        x: Tensor,
        flow: Tensor | None,
        back: Tensor | None = None,
    ) -> Tensor:
        """See ``Cell``; the state is the hidden state (1, channels, h, w)."""
        with self.runner.autocast():
            if state is None or x_previous is None or flow is None:
                fused = self.model.embed(x, direction)
            else:
                fused, _ = self.model.aggregate(direction, state, x_previous, x, flow)
        return self.runner(lambda part: self.model.restore(direction, part), fused)

    def decode(self, x: Tensor, backward: Tensor, forward: Tensor) -> Tensor:
        """The restored frame (1, c, h, w), float32."""
        return self.runner(self.model.decode, x, backward, forward).float()

    def detect(self, shown: Tensor) -> Tensor:
        """The probability (1, 1, h, w) of a defect, of what ``detection.views`` shows; of a network with a detector."""
        assert self.model.detector is not None
        return probabilities(self.detecting(self.model.detector, shown))


@torch.no_grad()
def detect_shot(
    cell: RestorationCell,
    frames: Frames,
    source: FlowSource,
    *,
    chunk: int = 40,
    finished: int = 0,
    on_chunk: Callable[[int], None] | None = None,
) -> Iterator[Detected]:
    """Where the defects of a shot's frames are, in order; arguments as for ``restore_shot``."""
    flows, t = PairFlows(source, frames), len(frames)
    for i in range(finished, t):
        before, to_before = (frames[i - 1][:, :1], flows.pair(i - 1)[0]) if i else (None, None)
        after, to_after = (frames[i + 1][:, :1], flows.pair(i)[1]) if i < t - 1 else (None, None)
        yield Detected(i, cell.detect(views(frames[i][:, :1], before, after, to_before, to_after)))
        flows.forget(i)
        if on_chunk is not None and ((i + 1) % chunk == 0 or i == t - 1):
            on_chunk(i + 1)


@torch.no_grad()
def restore_shot(
    cell: Cell,
    frames: Frames,
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
        larger than the chunk. finished: frames that an earlier run with the same scratch has restored, as reported to
        ``on_chunk``, which is called with the number of finished frames when the last frame of a chunk has been taken.
    """
    t = len(frames)
    if t > chunk and scratch is None:
        raise ValueError("a shot longer than a chunk needs a scratch folder")
    spill = Spill(scratch) if scratch is not None and t > chunk else None
    swept = spill if lookahead is None else None
    flows = PairFlows(source, frames, None if made_again(source) else swept, chunk)
    if swept is not None and finished < (t - 1) // chunk * chunk:
        _sweep(cell, frames, flows, swept, chunk, finished)
    forward = spill.get(f"forward_{finished:06d}", frames[0].device) if spill is not None and finished else None
    for start in range(finished, t, chunk):
        end = min(start + chunk, t)
        if swept is not None and end < t:
            entering, first = swept.get(f"backward_{end:06d}", frames[0].device), end
        else:
            entering, first = None, min(t, end + (lookahead or 0))
        behind: dict[int, Any] = {}
        for i in reversed(range(start, first)):
            neighbour = None if entering is None else frames[i + 1]
            back, flow = (None, None) if entering is None else flows.pair(i)
            entering = cell.step("backward", entering, neighbour, frames[i], flow, back)
            if i < end:
                behind[i] = entering
        for i in range(start, end):
            x = frames[i]
            flow, back = flows.pair(i - 1) if i else (None, None)
            forward = cell.step("forward", forward, frames[i - 1] if i else None, x, flow, back)
            yield Restored(i, cell.decode(x, behind.pop(i), forward), _residual(frames, flows, i))
        flows.forget(end - 1)
        if spill is not None and end < t:
            spill.put(f"forward_{end:06d}", forward)
        if on_chunk is not None:
            on_chunk(end)
        if spill is not None:
            spill.drop(f"forward_{start:06d}")
            spill.drop(f"backward_{end:06d}")


def _sweep(cell: Cell, frames: Frames, flows: PairFlows, spill: Spill, chunk: int, finished: int) -> None:
    """Put the backward state of the first frame of every chunk but the first into the spill, from the last one on."""
    t = len(frames)
    starts = [start for start in range(finished + chunk, t, chunk)]
    begun = next((start for start in starts if f"backward_{start:06d}" in spill), t)
    state = None if begun == t else spill.get(f"backward_{begun:06d}", frames[0].device)
    for i in reversed(range(finished + chunk, begun)):
        neighbour, (back, flow) = (None, (None, None)) if state is None else (frames[i + 1], flows.pair(i))
        state = cell.step("backward", state, neighbour, frames[i], flow, back)
        if i % chunk == 0:
            flows.write(i)
            spill.put(f"backward_{i:06d}", state)


def _residual(frames: Frames, flows: PairFlows, i: int) -> Tensor:
    x, smaller = frames[i][:, :1], frames[i].new_full((1, 1, *frames[i].shape[-2:]), torch.inf)
    for neighbour in (i - 1, i + 1):
        if 0 <= neighbour < len(frames):
            flow = flows.pair(min(i, neighbour))[int(neighbour > i)]
            smaller = torch.minimum(smaller, (warp(frames[neighbour][:, :1], flow, "border") - x).abs())
    return smaller


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
    cell: Cell, frames: Frames, source: FlowSource, *, window: int = 20, step: int = 10
) -> Iterator[Restored]:
    """The frames of a film as the published script restores them: in windows that know nothing of each other.

    Only for comparison: the last frames that a window keeps have no future, so quality pulses with the step. What the
    windows have in common, the flows, is computed once, and what is not kept, not at all.
    """
    flows = PairFlows(source, frames)
    for start, stop, kept in window_schedule(len(frames), window, step):
        behind: dict[int, Any] = {}
        state = None
        for i in reversed(range(kept, stop)):
            neighbour, (back, flow) = (None, (None, None)) if state is None else (frames[i + 1], flows.pair(i))
            behind[i] = state = cell.step("backward", state, neighbour, frames[i], flow, back)
        state = None
        for i in range(start, stop):
            neighbour, (flow, back) = (None, (None, None)) if state is None else (frames[i - 1], flows.pair(i - 1))
            state = cell.step("forward", state, neighbour, frames[i], flow, back)
            if i >= kept:
                yield Restored(i, cell.decode(frames[i], behind.pop(i), state), _residual(frames, flows, i))
        flows.forget(start + step)
