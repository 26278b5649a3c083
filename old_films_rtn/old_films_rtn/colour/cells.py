"""The steps that the recurrences of ``streaming`` repeat to carry colour, and the maps that go in and come out."""

from __future__ import annotations

from collections.abc import Iterable
from copy import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor

from old_films_rtn.colour.lab import from_lab
from old_films_rtn.flow import FlowSource, made_again
from old_films_rtn.models.colour import AB_SCALE, ColourNetwork, Key, arrived, carry, visible
from old_films_rtn.models.rtn import Direction
from old_films_rtn.streaming import Restored
from old_films_rtn.tiles import TiledRunner, padded


class CarryCell:
    """Colour that is only carried along the flow, with no network."""

    def step(
        self,
        direction: Direction,
        state: Tensor | None,
        x_previous: Tensor | None,
        x: Tensor,
        flow: Tensor | None,
        back: Tensor | None = None,
    ) -> Tensor:
        """See ``Cell``; the state is what ``carry`` gives, (1, 5, h, w)."""
        return carry(state, x_previous, x, flow, 1.0 if flow is None or back is None else visible(flow, back))

    def decode(self, x: Tensor, backward: Tensor, forward: Tensor) -> Tensor:
        """a and b (1, 2, h, w), divided by ``AB_SCALE``."""
        return torch.where(x[:, 3:] > 0, x[:, 1:3], arrived(backward, forward))


class ColourCell(CarryCell):
    """``ColourNetwork``, frame by frame, in tiles and in a chosen precision (see ``RestorationCell``)."""

    def __init__(
        self, model: ColourNetwork, device: torch.device | str = "cpu", precision: str = "fp32", tile: int | None = None
    ) -> None:
        self.model = model.to(device).eval()
        self.runner = TiledRunner(device, precision, tile, model.fusion.REACH)
        self.keys: list[Key] = []

    def with_keys(self, frames: Iterable[Tensor]) -> ColourCell:
        """The same cell for a shot with these key-frames (1, 4, h, w)."""
        other = copy(self)
        with torch.no_grad():
            other.keys = [self.model.correspondence.key(frame) for frame in frames]
        return other

    def decode(self, x: Tensor, backward: Tensor, forward: Tensor) -> Tensor:
        """a and b (1, 2, h, w), divided by ``AB_SCALE``."""
        found = self.model.correspondence(x[:, :1], self.keys)
        return self.model.decode(x, found, backward, forward, self.runner)


class OnLightness:
    """A flow source that sees the lightness of colour frames alone."""

    def __init__(self, source: FlowSource) -> None:
        self.source, self.made_again = source, made_again(source)

    def features(self, frames: Tensor) -> Any:
        return self.source.features(frames[:, :1].expand(-1, 3, -1, -1))

    def flow(self, a: Any, b: Any) -> Tensor:
        return self.source.flow(a, b)


def network_frame(lightness: np.ndarray, ab: np.ndarray | None) -> Tensor:
    """(1, 4, h', w'): a frame as ``ColourNetwork`` takes it, padded.

    Args:
        lightness: (h, w) L - 50.
        ab: (2, h, w) a and b where the frame is given in colour, else None.
    """
    grey = lightness[None] / 50
    known = np.full_like(grey, ab is not None)
    colour = np.zeros((2, *lightness.shape), np.float32) if ab is None else ab / AB_SCALE
    return torch.from_numpy(padded(np.concatenate([grey, colour, known]).astype(np.float32)))[None]


def coloured(result: Restored, lightness: np.ndarray) -> np.ndarray:
    """(h, w, 3) RGB in [0, 1] of a frame's lightness (h, w), L - 50, and the a and b that came out."""
    height, width = lightness.shape
    ab = result.output[0, :, :height, :width].cpu().numpy() * AB_SCALE
    return from_lab(np.concatenate([lightness[None], ab])).transpose(1, 2, 0)
