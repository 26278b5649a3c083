"""The steps that the recurrences of ``streaming`` repeat to carry colour, and the maps that go in and come out."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from old_films_rtn.colour.lab import from_lab
from old_films_rtn.flow import FlowSource, made_again
from old_films_rtn.models.colour import AB_SCALE, ColourRTN
from old_films_rtn.models.rtn import Direction
from old_films_rtn.streaming import Restored
from old_films_rtn.tiles import TiledRunner, halo, padded


class ColourCell:
    """``ColourRTN``, step by step, in tiles and in a chosen precision (see ``RestorationCell``)."""

    def __init__(
        self, model: ColourRTN, device: torch.device | str = "cpu", precision: str = "fp32", tile: int | None = None
    ) -> None:
        self.model = model.to(device).eval()
        self.runner = TiledRunner(device, precision, tile, halo(model.forward_transformer))

    def step(
        self, direction: Direction, state: Tensor | None, x_previous: Tensor | None, x: Tensor, flow: Tensor | None
    ) -> Tensor:
        """The state is hidden state and carried colour (1, channels + 3, h, w)."""
        with self.runner.autocast():
            return self.model.step(direction, state, x_previous, x, flow, self.runner)

    def decode(self, x: Tensor, backward: Tensor, forward: Tensor) -> Tensor:
        """a and b (1, 2, h, w), divided by ``AB_SCALE``."""
        return self.model.decode(x, backward, forward, self.runner)


class CarryCell:
    """Colour that is only carried along the flow: ``ColourRTN`` before training, without its network."""

    def __init__(self) -> None:
        self.model = ColourRTN(width=16, depths=(1,), num_heads=1)

    def step(
        self, direction: Direction, state: Tensor | None, x_previous: Tensor | None, x: Tensor, flow: Tensor | None
    ) -> Tensor:
        """The state is the carried colour (1, 3, h, w)."""
        return self.model.carry(state, x_previous, x, flow)

    def decode(self, x: Tensor, backward: Tensor, forward: Tensor) -> Tensor:
        """a and b (1, 2, h, w), divided by ``AB_SCALE``."""
        return torch.where(x[:, 3:] > 0, x[:, 1:3], self.model.arrived(backward, forward)[:, :2])


class OnLightness:
    """A flow source that sees the lightness of colour frames alone."""

    def __init__(self, source: FlowSource) -> None:
        self.source, self.made_again = source, made_again(source)

    def features(self, frames: Tensor) -> Any:
        return self.source.features(frames[:, :1].expand(-1, 3, -1, -1))

    def flow(self, a: Any, b: Any) -> Tensor:
        return self.source.flow(a, b)


def network_frame(lightness: np.ndarray, ab: np.ndarray | None) -> Tensor:
    """(1, 4, h', w'): a frame as ``ColourRTN`` takes it, padded.

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
