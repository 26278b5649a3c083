"""Local networks on frames of any size: in tiles that are exact, in a chosen precision, within the memory there is."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor

from old_films_rtn.models.swin import RestorationTransformer, SwinBlock
from shared_utils import UserError

log = logging.getLogger(__name__)

ALIGN = 16
"""Pixels: two windows of 8 at half resolution, shifted by 4, repeat after this."""
PRECISIONS = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
_SMALLEST_TILE = 64


def halo(transformer: RestorationTransformer) -> int:
    """Pixels around a tile that can change what is inside it, rounded up to ``ALIGN``.

    A first block sees the 7 other tokens of its window, every further one half a window more, and every convolution its
    kernel; 16 more are kept for safety: 96 for the published six blocks, for which 64 was enough in measurements.
    """
    blocks, groups = sum(isinstance(module, SwinBlock) for module in transformer.modules()), len(transformer.groups)
    tokens = 7 + 4 * (blocks - 1) + groups + 4
    return -(-(2 * tokens + 16) // ALIGN) * ALIGN


def tiled(function: Callable[..., Tensor], inputs: Sequence[Tensor], tile: int, halo: int) -> Tensor:
    """``function`` of maps (n, c, h, w), tile by tile with a border of ``halo`` around each; equal to it on the whole.

    h, w, tile and halo are multiples of ``ALIGN``, so that the windows of a tile are windows of the whole.
    """
    height, width = inputs[0].shape[-2:]
    if tile >= max(height, width):
        return function(*inputs)
    whole: Tensor | None = None
    for top in range(0, height, tile):
        for left in range(0, width, tile):
            bottom, right = min(top + tile, height), min(left + tile, width)
            y, x = max(0, top - halo), max(0, left - halo)
            part = function(*(maps[..., y : bottom + halo, x : right + halo] for maps in inputs))
            if whole is None:
                whole = part.new_empty((*part.shape[:2], height, width))
            whole[..., top:bottom, left:right] = part[..., top - y : bottom - y, left - x : right - x]
    assert whole is not None  # frames have pixels
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
