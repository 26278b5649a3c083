"""What fits into memory: the length of a chunk, the side of a tile, and RAFT's volumes."""

from __future__ import annotations

import torch

from old_films_rtn.flow import FlowSource
from old_films_rtn.models.raft import RAFT

STATE_BYTES = 16 * 4 + 16
"""Of a pixel, for a frame inside a chunk: the hidden state in float32, and both flows."""
TRANSFORMER_BYTES = 1500
"""Of a pixel, at the peak of the published transformer in float32 (1250 to 1430 measured)."""


def chunk_for(size: tuple[int, int], memory: float) -> int:
    """Frames whose states fit into half of ``memory`` GB."""
    return max(8, min(400, int(memory * 5e8 / (STATE_BYTES * size[0] * size[1]))))


def tile_for(size: tuple[int, int], memory: float, halo: int) -> int | None:
    """The largest tile for which the transformer stays in half of ``memory`` GB; None: the whole frame."""
    pixels = memory * 5e8 / TRANSFORMER_BYTES
    if size[0] * size[1] <= pixels:
        return None
    return max(128, (int(pixels**0.5) - 2 * halo) // 16 * 16)


def flow_within(source: FlowSource, place: torch.device, memory: float) -> FlowSource:
    """The source on a device; RAFT's correlation volumes take at most a quarter of ``memory`` GB."""
    if isinstance(source, RAFT):
        source.to(place).volume_limit = int(memory * 1e9 / 4)
    return source
