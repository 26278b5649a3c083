"""Contaminants, and those cut from scanned templates as published.

A texture is (h, w) uint8, white where the film is clean. What lies over a clip is a list of layers for every frame.
"""

from __future__ import annotations

import math
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

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
