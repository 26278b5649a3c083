"""Contaminants that are drawn: scratches, dust, hairs, blotches, stains."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import cv2
import numpy as np

from old_films_rtn.data.degradation import BLEND_MODES, BlendMode
from old_films_rtn.data.textures import Layer
from shared_utils import UserError

Kind = Literal["lasting scratches", "flickering scratches", "dirt", "hairs", "blotches"]


def size_of(height: int, width: int) -> float:
    """How much larger defects are in a frame of this size than in one of 96 pixels: as on a film that was scanned so."""
    return max(1.0, min(height, width) / 96)


def lasting_line(
    rng: np.random.Generator, frames: int, height: int, width: int, widest: float, narrowest: float = 1.0
) -> list[Layer]:
    """A near-vertical line that is there in every frame of a clip, dark or bright: a layer a frame.

    It is ``narrowest`` to ``widest`` pixels wide, stands or drifts slowly, and varies a little in place and strength.
    """
    mode: BlendMode = BLEND_MODES[rng.integers(3)]
    opacity, strength = rng.uniform(0.6, 1.0), rng.uniform(0.45, 1.0)
    thickness = narrowest * (widest / narrowest) ** rng.random()
    start, slope = rng.uniform(0, width), rng.normal(0, 0.01)
    drift, shake = rng.normal(0, 0.4) * (rng.random() < 0.5), rng.uniform(0, 0.4)
    rows, columns = np.arange(height, dtype=np.float32)[:, None], np.arange(width, dtype=np.float32)
    layers = []
    for number in range(frames):
        centre = start + drift * number + shake * rng.normal() + slope * rows
        covered = np.clip(thickness / 2 + 0.5 - np.abs(columns - centre), 0, 1) * strength * rng.uniform(0.85, 1)
        layers.append(Layer(np.rint(255 * (1 - covered)).astype(np.uint8), mode, opacity))
    return layers


def _soften(drawn: np.ndarray, sigma: float) -> np.ndarray:
    return cv2.GaussianBlur(drawn, (0, 0), sigma) if sigma > 0.2 else drawn


class DrawnTextures:
    """Contaminants that are drawn: most dirt stays for one frame, scratches for many. Sizes grow with the frame's.

    amount: factor on how many there are; at 1 about a twelfth of the area is hidden. lasting: mean number of lines in a
    clip that are there in every frame, beside the others. largest: a clip's defects are up to this many times as large
    (and fewer); lasting lines are up to twice as many pixels wide. absent: how probable it is of each kind that a clip has
    none of it. Raises UserError where ``largest`` is below 1, or ``absent`` no probability.
    """

    def __init__(self, amount: float = 1.0, lasting: float = 0.0, largest: float = 1.0, absent: float = 0.0) -> None:
        if largest < 1 or lasting < 0 or amount < 0 or not 0 <= absent <= 1:
            raise UserError(
                f"drawn defects: amount {amount} and lasting {lasting} are at least 0, largest {largest} at least 1, absent"
                f" {absent} between 0 and 1"
            )
        self.amount, self.lasting, self.largest, self.absent = amount, lasting, largest, absent

    def draw(self, rng: np.random.Generator, frames: int, height: int, width: int) -> list[list[Layer]]:
        """The layers of every frame of a clip."""
        scale = size_of(height, width)
        if self.largest > 1:
            scale = (self.largest * scale) ** rng.random()
        lasting = [lasting_line(rng, frames, height, width, 2 * self.largest) for _ in range(self._count(rng))]
        lines = self._scratches(rng, frames, height, width, scale)
        without = [self.absent > 0 and rng.random() < self.absent for _ in range(5)]
        if without[0]:
            lasting = []
        if without[1]:
            lines = [None] * frames
        layers = []
        for number, drawn in enumerate(lines):
            frame = [line[number] for line in lasting] + ([drawn] if drawn is not None else [])
            for bright in (True, False):
                if without[2 + bright]:
                    continue
                spots = self._spots(rng, height, width, scale)
                mode: BlendMode = "addition" if bright else ("subtract", "multiply")[rng.integers(2)]
                frame.append(Layer(255 - spots, mode, rng.uniform(0.6, 1)))
            if rng.random() < 0.25 * self.amount and not without[4]:
                mode = BLEND_MODES[rng.integers(3)]
                frame.append(Layer(255 - self._blotch(rng, height, width), mode, rng.uniform(0.3, 0.9)))
            layers.append(frame)
        return layers

    def _count(self, rng: np.random.Generator) -> int:
        return int(rng.poisson(self.lasting)) if self.lasting else 0

    def of_kind(
        self, kind: Kind, rng: np.random.Generator, frames: int, height: int, width: int, scale: float
    ) -> list[list[Layer]]:
        """The layers of every frame of a clip with defects of one kind, ``scale`` times the size that they have in a frame
        of 96 pixels."""
        if kind == "lasting scratches":
            count = max(1, round(self.amount * width / 64 / scale**0.5))
            lines = [lasting_line(rng, frames, height, width, 1.6 * scale, 0.8 * scale) for _ in range(count)]
            return [list(frame) for frame in zip(*lines, strict=True)]
        if kind == "flickering scratches":
            lines = self._scratches(rng, frames, height, width, scale)
            return [[layer] if layer is not None else [] for layer in lines]
        layers = []
        for _ in range(frames):
            mode: BlendMode = BLEND_MODES[rng.integers(3)]
            if kind == "blotches":
                layers.append([Layer(255 - self._blotch(rng, height, width), mode, rng.uniform(0.3, 0.9))])
                continue
            drawn = np.zeros((height, width), np.uint8)
            (self._dust if kind == "dirt" else self._hairs)(drawn, rng, scale)
            layers.append([Layer(255 - _soften(drawn, rng.uniform(0, 0.8)), mode, rng.uniform(0.6, 1))])
        return layers

    def _spots(self, rng: np.random.Generator, height: int, width: int, scale: float) -> np.ndarray:
        """Dust and hairs of one frame: (h, w) uint8, 255 where the film is hidden."""
        drawn = np.zeros((height, width), np.uint8)
        self._dust(drawn, rng, scale)
        self._hairs(drawn, rng, scale)
        return _soften(drawn, rng.uniform(0, 0.8))

    def _dust(self, drawn: np.ndarray, rng: np.random.Generator, scale: float) -> None:
        height, width = drawn.shape
        for _ in range(rng.poisson(4 * self.amount * drawn.size / 64**2 / scale**2)):
            # An irregular blob: a polygon around a centre.
            centre = rng.uniform((0, 0), (width, height))
            angles = np.sort(rng.uniform(0, 2 * math.pi, 9))
            radii = scale * rng.gamma(2.0, 1.1) * rng.uniform(0.5, 1.3, 9)
            corners = centre + radii[:, None] * np.stack((np.cos(angles), rng.uniform(0.5, 1) * np.sin(angles)), 1)
            cv2.fillPoly(drawn, [np.round(corners * 16).astype(np.int32)], int(rng.integers(120, 256)), cv2.LINE_AA, 4)

    def _hairs(self, drawn: np.ndarray, rng: np.random.Generator, scale: float) -> None:
        height, width = drawn.shape
        for _ in range(rng.poisson(0.35 * self.amount * drawn.size / 64**2 / scale**2)):
            points = rng.uniform((0, 0), (width, height)) + np.cumsum(
                rng.normal(0, 1.2 * scale, (14, 2)) + rng.normal(0, 2.0 * scale, 2), axis=0
            )
            places = np.round(points * 16).astype(np.int32)
            cv2.polylines(drawn, [places], False, int(rng.integers(140, 256)), max(1, round(scale)), cv2.LINE_AA, 4)

    def _blotch(self, rng: np.random.Generator, height: int, width: int) -> np.ndarray:
        """A stain with a soft edge and uneven inside."""
        drawn = np.zeros((height, width), np.float32)
        centre = rng.uniform((0, 0), (width, height))
        for _ in range(rng.integers(2, 6)):
            place = centre + rng.normal(0, 0.06, 2) * min(height, width)
            axes = np.maximum(rng.uniform(0.02, 0.1, 2) * min(height, width), 1)
            cv2.ellipse(
                drawn,
                (tuple(map(float, place)), tuple(map(float, 2 * axes)), float(rng.uniform(0, 180))),
                float(rng.uniform(0.5, 1)),
                -1,
            )
        drawn = cv2.GaussianBlur(drawn, (0, 0), rng.uniform(0.01, 0.04) * min(height, width))
        return np.clip(drawn * 255, 0, 255).astype(np.uint8)

    def _scratches(
        self, rng: np.random.Generator, frames: int, height: int, width: int, scale: float
    ) -> Sequence[Layer | None]:
        """Near-vertical lines over the clip: fixed, drifting or interrupted."""
        count = rng.poisson(1.0 * self.amount * width / 64 / scale)
        if not count:
            return [None] * frames
        mode, opacity = BLEND_MODES[rng.integers(3)], rng.uniform(0.6, 1)
        lines = [
            {
                "x": rng.uniform(0, width),
                "slope": rng.normal(0, 0.03),
                "drift": rng.normal(0, 1.5) * (rng.random() < 0.6),
                "shown": rng.uniform(0.4, 1),
                "thickness": int(max(1, round(scale * rng.uniform(0.6, 1.6)))),
                "strength": int(rng.integers(110, 256)),
                "part": np.sort(rng.uniform(-0.5, 1.5, 2)) if rng.random() < 0.5 else np.array([0.0, 1.0]),
            }
            for _ in range(count)
        ]
        layers = []
        for number in range(frames):
            drawn = np.zeros((height, width), np.uint8)
            for line in lines:
                if rng.random() > line["shown"]:
                    continue
                ends = []
                for y in line["part"] * height:
                    x = line["x"] + line["drift"] * number + line["slope"] * y + rng.normal(0, 0.3)
                    ends.append((round(x * 16), round(y * 16)))
                cv2.line(drawn, ends[0], ends[1], line["strength"], line["thickness"], cv2.LINE_AA, 4)
            layers.append(Layer(255 - _soften(drawn, 0.4), mode, opacity))
        return layers
