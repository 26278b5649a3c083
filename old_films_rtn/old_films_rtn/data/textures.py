"""Contaminants: cut from scanned templates as published, or drawn (scratches, dust, hairs, blotches, stains).

A texture is (h, w) uint8, white where the film is clean. What lies over a clip is a list of layers for every frame.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image, ImageEnhance, ImageFilter

from old_films_rtn.data.degradation import BLEND_MODES, BlendMode
from old_films_rtn.video.images import IMAGE_SUFFIXES
from shared_utils import UserError

MARGIN = 40
"""Columns at a template's left and right that no crop is centred on."""


class Layer(NamedTuple):
    """One contaminant over one frame."""

    texture: np.ndarray
    mode: BlendMode
    opacity: float

    def weight(self) -> np.ndarray:
        """(h, w) float32 in [0, 1]: how much of the frame it hides."""
        return self.opacity * (1 - self.texture.astype(np.float32) / 255)


# Templates -----------------------------------------------------------------------------------------------------------


def inscribed_rectangle(width: float, height: float, angle: float) -> tuple[float, float]:
    """Width and height of the largest upright rectangle inside one of width x height turned by ``angle`` (radians)."""
    sine, cosine = abs(math.sin(angle)), abs(math.cos(angle))
    long, short = max(width, height), min(width, height)
    if short <= 2 * sine * cosine * long or abs(sine - cosine) < 1e-10:
        half = 0.5 * short
        return (half / sine, half / cosine) if width >= height else (half / cosine, half / sine)
    double = cosine * cosine - sine * sine
    return (width * cosine - height * sine) / double, (height * cosine - width * sine) / double


def rotated_crop(texture: np.ndarray, box: tuple[int, int, int], degrees: float, size: tuple[int, int]) -> np.ndarray:
    """A square (x, y, side) of the template, turned, cut to its largest upright rectangle, resized to (width, height)."""
    x, y, side = box
    image = Image.fromarray(texture).crop((x, y, x + side, y + side))
    width, height = image.size
    turned = image.rotate(degrees, expand=True, resample=Image.Resampling.BILINEAR)
    inner = [max(1, int(length)) for length in inscribed_rectangle(width, height, math.radians(degrees))]
    left, top = (int((outer - length) / 2) for outer, length in zip(turned.size, inner, strict=True))
    right, bottom = (int((outer + length) / 2) for outer, length in zip(turned.size, inner, strict=True))
    return np.asarray(turned.crop((left, top, right, bottom)).resize(size, Image.Resampling.LANCZOS))


def dilate(texture: np.ndarray, size: int) -> np.ndarray:
    """Minimum over ``size`` x ``size`` (odd): dark defects grow."""
    return np.asarray(Image.fromarray(texture).filter(ImageFilter.MinFilter(size)))


def raise_contrast(texture: np.ndarray, factor: float) -> np.ndarray:
    """Distances from the mean times ``factor``."""
    return np.asarray(ImageEnhance.Contrast(Image.fromarray(texture)).enhance(factor))


def shift(texture: np.ndarray, distance: int, left: bool) -> np.ndarray:
    """Move sideways and fill with the texture's own columns at the side that was uncovered."""
    if left:
        return np.concatenate((texture[:, distance:], texture[:, -distance:]), axis=1)
    return np.concatenate((texture[:, :distance], texture[:, :-distance]), axis=1)


def anchors(texture: np.ndarray, below: float = 15) -> np.ndarray:
    """(n, 2) places (y, x) of pixels darker than the mean minus ``below``, away from the left and right border."""
    dark = texture.astype(np.float32) < texture.mean() - below
    dark[:, :MARGIN] = dark[:, -MARGIN:] = False
    return np.argwhere(dark)


@lru_cache(maxsize=64)
def read_template(path: Path) -> np.ndarray:
    """(h, w) uint8. Raises UserError for a file that is not an image."""
    try:
        return np.asarray(Image.open(path).convert("L"))
    except OSError as error:
        raise UserError(f"{path} cannot be read as an image ({error}): replace or remove it") from error


class TemplateTextures:
    """Contaminants from a folder tree of scanned templates: numbered folders as published, any other is generic.

    Folder ``001`` holds lines, which move over a clip; ``008`` is used whole; ``011`` only brightens.
    Raises UserError where there are no templates.
    """

    GROWN = ("002", "003", "004", "005", "006", "007", "009", "012")

    def __init__(self, root: str | Path) -> None:
        root = Path(root)
        if not root.is_dir():
            raise UserError(f"{root} is not a folder: data.textures takes a folder of scratch templates (noise_data)")
        self.files: dict[str, list[Path]] = {}
        for path in sorted(root.rglob("*")):
            if path.suffix.lower() in IMAGE_SUFFIXES:
                self.files.setdefault(path.parent.name if path.parent != root else "generic", []).append(path)
        if not self.files:
            raise UserError(
                f"no template (png, jpg, tif) in {root}: data.textures takes a folder tree of scratch templates"
            )

    def _crop(self, rng: np.random.Generator, group: str, size: tuple[int, int], line: bool) -> np.ndarray:
        texture = read_template(self.files[group][rng.integers(len(self.files[group]))])
        places = anchors(texture, 25 if line else 15)
        if group == "008" or rng.random() < 0.15 or not len(places):
            result = np.asarray(Image.fromarray(texture).resize(size, Image.Resampling.LANCZOS))
        else:
            y, x = places[rng.integers(len(places))]
            side = int(min(rng.integers(150, 361), *texture.shape))
            left = int(np.clip(x - rng.integers(side), 0, texture.shape[1] - side))
            top = int(np.clip(y - rng.integers(side), 0, texture.shape[0] - side))
            result = rotated_crop(texture, (left, top, side), 0.0 if line else rng.uniform(0, 360), size)
        if line:
            return result
        if group in self.GROWN:
            result = dilate(result, int(rng.choice([1, 3])))
        return raise_contrast(result, rng.uniform(2, 4)) if rng.random() < 0.7 else result

    def draw(self, rng: np.random.Generator, frames: int, height: int, width: int) -> list[list[Layer]]:
        """The layers of every frame of a clip."""
        size = (width, height)
        if "001" in self.files and (len(self.files) == 1 or rng.random() < 0.2):
            texture, mode = self._crop(rng, "001", size, line=True), BLEND_MODES[rng.integers(3)]
            layers = []
            for _ in range(frames):
                layers.append([Layer(texture, mode, rng.uniform(0.6, 1))])
                distance = int(min(rng.integers(5, 16), width - 1))
                texture = shift(texture, distance, left=rng.random() < 0.5)
            return layers
        groups = [group for group in self.files if group != "001"]
        layers = []
        for _ in range(frames):
            group = groups[rng.integers(len(groups))]
            mode = "addition" if group == "011" else BLEND_MODES[rng.integers(3)]
            layers.append([Layer(self._crop(rng, group, size, line=False), mode, rng.uniform(0.6, 1))])
        return layers


# Drawn contaminants --------------------------------------------------------------------------------------------------


def _soften(drawn: np.ndarray, sigma: float) -> np.ndarray:
    return cv2.GaussianBlur(drawn, (0, 0), sigma) if sigma > 0.2 else drawn


class DrawnTextures:
    """Contaminants that are drawn: most dirt stays for one frame, scratches for many. Sizes grow with the frame's.

    amount: factor on how many there are; at 1 about a twelfth of the area is hidden.
    """

    def __init__(self, amount: float = 1.0) -> None:
        self.amount = amount

    def draw(self, rng: np.random.Generator, frames: int, height: int, width: int) -> list[list[Layer]]:
        """The layers of every frame of a clip."""
        scale = max(1.0, min(height, width) / 96)
        lines = self._scratches(rng, frames, height, width, scale)
        layers = []
        for drawn in lines:
            frame = [drawn] if drawn is not None else []
            for bright in (True, False):
                spots = self._spots(rng, height, width, scale)
                mode: BlendMode = "addition" if bright else ("subtract", "multiply")[rng.integers(2)]
                frame.append(Layer(255 - spots, mode, rng.uniform(0.6, 1)))
            if rng.random() < 0.25 * self.amount:
                mode = BLEND_MODES[rng.integers(3)]
                frame.append(Layer(255 - self._blotch(rng, height, width), mode, rng.uniform(0.3, 0.9)))
            layers.append(frame)
        return layers

    def _spots(self, rng: np.random.Generator, height: int, width: int, scale: float) -> np.ndarray:
        """Dust and hairs of one frame: (h, w) uint8, 255 where the film is hidden."""
        drawn = np.zeros((height, width), np.uint8)
        area = height * width / 64**2 / scale**2
        for _ in range(rng.poisson(4 * self.amount * area)):
            # An irregular blob: a polygon around a centre.
            centre = rng.uniform((0, 0), (width, height))
            angles = np.sort(rng.uniform(0, 2 * math.pi, 9))
            radii = scale * rng.gamma(2.0, 1.1) * rng.uniform(0.5, 1.3, 9)
            corners = centre + radii[:, None] * np.stack((np.cos(angles), rng.uniform(0.5, 1) * np.sin(angles)), 1)
            cv2.fillPoly(drawn, [np.round(corners * 16).astype(np.int32)], int(rng.integers(120, 256)), cv2.LINE_AA, 4)
        for _ in range(rng.poisson(0.35 * self.amount * area)):
            points = rng.uniform((0, 0), (width, height)) + np.cumsum(
                rng.normal(0, 1.2 * scale, (14, 2)) + rng.normal(0, 2.0 * scale, 2), axis=0
            )
            places = np.round(points * 16).astype(np.int32)
            cv2.polylines(drawn, [places], False, int(rng.integers(140, 256)), max(1, round(scale)), cv2.LINE_AA, 4)
        return _soften(drawn, rng.uniform(0, 0.8))

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
