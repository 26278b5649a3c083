"""The views of a crop: the weak (query) and the strong one (key) of pre-training, and that of fine-tuning.

A view is made in two parts. The geometry, the colours and the blur are drawn for each sample and computed on uint8 in the
process that loads it (``TwoViews``, ``FineTuneView``); flipping, graying, normalising and erasing are done for the whole
batch on the device that trains (``finish``), so that a quarter of the bytes is sent there. What is drawn comes from a generator
that the caller seeds for each sample. The view of a test is ``pretrained.test_view``.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from shared_utils import UserError

ERASED = {"re": 0.4, "wre": 0.2, "sre": 0.6, "ssre": 0.8}
"""Largest erased share of the area, by the name in a variant."""


class View(NamedTuple):
    """A view of one crop before ``finish``; collated, every field has a leading dimension n."""

    image: np.ndarray | Tensor
    """(h, w, 3) uint8 RGB"""
    flip: bool | Tensor
    gray: bool | Tensor
    erased: np.ndarray | Tensor
    """(4,) int64: top, left, height, width of the erased box in the finished view; height 0: none"""


@dataclass(frozen=True)
class Variant:
    """What the strong view does beside the random resized crop and the flip.

    Attributes:
        jitter: brightness, contrast, saturation by 0.4 and hue by 0.1, with probability 0.8.
        gray: with probability 0.2.
        blur: Gaussian, standard deviation 0.1 to 2.0 pixels, with probability 0.5.
        erased: largest erased share of the area, with probability 0.5; 0: nothing is erased.
    """

    jitter: bool = True
    gray: bool = True
    blur: bool = True
    erased: float = 0.0


def variant(name: str) -> Variant:
    """The strong view by its published name: ``ori`` with ``-cj``, ``-gs``, ``-gb``, ``+re``, ``+wre``, ``+sre``, ``+ssre``.

    Raises:
        UserError: it is not one.
    """
    found = re.fullmatch(r"ori((?:-(?:cj|gs|gb))*)(?:\+(re|wre|sre|ssre))?", name)
    if not found:
        raise UserError(
            f"strong view {name!r} is unknown: ori, without colour jitter (-cj), gray (-gs) or blur (-gb), with erasing up "
            "to 0.2 (+wre), 0.4 (+re), 0.6 (+sre) or 0.8 (+ssre) of the area, as in ori-cj+sre"
        )
    without = found[1].split("-")
    return Variant("cj" not in without, "gs" not in without, "gb" not in without, ERASED.get(found[2], 0.0))


class WeakView:
    """Resize, zero-pad, crop at random, flip with probability 0.5.

    Args:
        size: (height, width) of the view.
        padding: pixels; the crop is moved by as many at most.
    """

    def __init__(self, size: tuple[int, int], padding: int = 10) -> None:
        self.size, self.padding = size, padding

    def __call__(self, image: np.ndarray, draw: random.Random) -> View:
        down, right = draw.randint(-self.padding, self.padding), draw.randint(-self.padding, self.padding)
        image = moved(resized(image, self.size, cv2.INTER_CUBIC), down, right)
        return View(image, draw.random() < 0.5, False, NOT_ERASED)


class StrongView:
    """Random resized crop (area 0.2 to 1, ratio 3/4 to 4/3), jitter, gray, blur, flip, erase; see ``Variant``."""

    def __init__(self, size: tuple[int, int], name: str = "ori-cj+sre") -> None:
        self.size, self.variant = size, variant(name)

    def __call__(self, image: np.ndarray, draw: random.Random) -> View:
        wanted = self.variant
        top, left, height, width = crop_box(image.shape[:2], draw)
        image = resized(image[top : top + height, left : left + width], self.size, cv2.INTER_LINEAR)
        if wanted.jitter and draw.random() < 0.8:
            image = jittered(image, draw)
        gray = wanted.gray and draw.random() < 0.2
        if wanted.blur and draw.random() < 0.5:
            # A grayed picture is blurred as well: gray is a mean over channels, which may come after the blur.
            image = cv2.GaussianBlur(image, (0, 0), draw.uniform(0.1, 2.0))
        flip = draw.random() < 0.5
        return View(image, flip, gray, erased_box(self.size, wanted.erased, draw))


class FineTuneView(WeakView):
    """The weak view, with up to 0.4 of the area erased with probability 0.5."""

    def __call__(self, image: np.ndarray, draw: random.Random) -> View:
        return super().__call__(image, draw)._replace(erased=erased_box(self.size, 0.4, draw))


NOT_ERASED = np.zeros(4, np.int64)


def resized(image: np.ndarray, size: tuple[int, int], enlarging: int) -> np.ndarray:
    """(h, w, 3) uint8 -> (*size, 3).

    ``enlarging`` is OpenCV's interpolation; what is made smaller is linear, from a half on averaged over areas, which takes
    three times as long.
    """
    factor = min(image.shape[0] / size[0], image.shape[1] / size[1])
    if image.shape[:2] == size:
        return image
    how = enlarging if factor < 1 else cv2.INTER_LINEAR if factor < 2 else cv2.INTER_AREA
    return cv2.resize(image, size[::-1], interpolation=how)


def moved(image: np.ndarray, down: int, right: int) -> np.ndarray:
    """The picture moved by whole pixels; what comes in from outside is black."""
    height, width = image.shape[:2]
    result = np.zeros_like(image)
    result[max(down, 0) : height + min(down, 0), max(right, 0) : width + min(right, 0)] = image[
        max(-down, 0) : height - max(down, 0), max(-right, 0) : width - max(right, 0)
    ]
    return result


def crop_box(size: Sequence[int], draw: random.Random) -> tuple[int, int, int, int]:
    """(top, left, height, width) of 0.2 to 1 of the area with a ratio of 3/4 to 4/3; after ten tries the middle of it."""
    height, width = size
    for _ in range(10):
        area = height * width * draw.uniform(0.2, 1.0)
        ratio = math.exp(draw.uniform(math.log(3 / 4), math.log(4 / 3)))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            return draw.randint(0, height - h), draw.randint(0, width - w), h, w
    if width < height * 3 / 4:
        w, h = width, max(1, min(height, round(width / (3 / 4))))
    else:
        w, h = max(1, min(width, round(height * 4 / 3))), height
    return (height - h) // 2, (width - w) // 2, h, w


def erased_box(size: Sequence[int], largest: float, draw: random.Random) -> np.ndarray:
    """Box of 0.02 to ``largest`` of the area with a ratio of 0.3 to 3.33, with probability 0.5; see ``View.erased``."""
    if not largest or draw.random() >= 0.5:
        return NOT_ERASED
    height, width = size
    for _ in range(10):
        area = height * width * draw.uniform(0.02, largest)
        ratio = math.exp(draw.uniform(math.log(0.3), math.log(3.33)))
        h, w = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < h < height and 0 < w < width:
            return np.array((draw.randint(0, height - h), draw.randint(0, width - w), h, w))
    return NOT_ERASED


def jittered(image: np.ndarray, draw: random.Random) -> np.ndarray:
    """Brightness, contrast, saturation (factors 0.6 to 1.4) and hue (by a tenth of the circle) in an order drawn at random."""
    levels = np.arange(256, dtype=np.float32)
    for step in draw.sample(("brightness", "contrast", "saturation", "hue"), 4):
        if step == "hue":
            hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV_FULL)
            hsv[..., 0] += np.uint8(round(draw.uniform(-0.1, 0.1) * 255) % 256)
            image = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL)
            continue
        factor, gray = draw.uniform(0.6, 1.4), cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        if step == "saturation":
            image = cv2.addWeighted(image, factor, cv2.cvtColor(gray, cv2.COLOR_GRAY2RGB), 1 - factor, 0)
        else:
            middle = round(cv2.mean(gray)[0]) if step == "contrast" else 0.0
            table = np.clip(levels * factor + middle * (1 - factor), 0, 255).astype(np.uint8)
            image = cv2.LUT(image, table)
    return image


def finish(view: View, mean: Sequence[float], std: Sequence[float], erase_black: bool = False) -> Tensor:
    """The batch part of a view: flip, gray, normalise, erase.

    Args:
        view: collated, on the device that trains.
        mean: of R, G, B in 0..1; also std.
        erase_black: erase with black, as before normalising (fine-tuning), in place of the mean (pre-training).

    Returns:
        (n, 3, h, w) float32, normalised, channels last in memory.
    """
    assert isinstance(view.image, Tensor) and isinstance(view.flip, Tensor)
    assert isinstance(view.gray, Tensor) and isinstance(view.erased, Tensor)
    images = _flipped(view.image, view.flip)
    n, height, width, _ = images.shape
    pixels = images.float()
    if view.gray.any():
        # ITU-R 601, as PIL has it; channel by channel, since along a last dimension of three it takes four times as long.
        red, green, blue = (pixels[view.gray, :, :, channel] for channel in range(3))
        grays = red.mul_(0.299).add_(green, alpha=0.587).add_(blue, alpha=0.114)
        for channel in range(3):
            pixels[view.gray, :, :, channel] = grays
    scale = 1 / (255 * pixels.new_tensor(std))
    black = pixels.new_tensor(mean) * -255 * scale
    # Rows of pixels as they lie in memory: over a last dimension of three, this would take ten times as long.
    rows, scale, black = pixels.view(n, height, width * 3), scale.repeat(width), black.repeat(width)
    torch.addcmul(black, rows, scale, out=rows)
    nothing = black if erase_black else torch.zeros_like(black)
    for number, (top, left, h, w) in enumerate(view.erased.tolist()):
        if h:
            rows[number, top : top + h, 3 * left : 3 * (left + w)] = nothing[: 3 * w]
    return pixels.permute(0, 3, 1, 2)


def _flipped(images: Tensor, flip: Tensor) -> Tensor:
    """A copy of (n, h, w, 3) uint8 with the chosen ones mirrored."""
    images = images.clone()
    if images.device.type != "cpu":
        images[flip] = images[flip].flip(2)
        return images
    array = images.numpy()
    for number in flip.nonzero().flatten().tolist():  # OpenCV takes a tenth of the time
        array[number] = cv2.flip(array[number], 1)
    return images
