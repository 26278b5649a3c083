"""Perturbations of whole videos, frame by frame and with H.264, through PyAV and in memory (spec 5)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import cv2
import numpy as np

from av_deepfake.degradations import pictures
from shared_utils import UserError
from shared_utils.video import compressed

KINDS: dict[str, tuple[float, ...]] = {
    "saturation": (0.4, 0.3, 0.2, 0.1, 0.0),
    "contrast": (0.85, 0.725, 0.6, 0.475, 0.35),
    "blocks": (16, 32, 48, 64, 80),
    "noise": (0.001, 0.002, 0.005, 0.01, 0.05),
    "blur": (7, 9, 13, 17, 21),
    "pixelation": (2, 3, 4, 5, 6),
    "compression": (30, 32, 35, 38, 40),
}
"""What each level means: factor, gain, number of blocks, variance, kernel, factor, constant rate factor of H.264."""

_PICTURES: dict[str, Callable[[np.ndarray, float, np.random.Generator], np.ndarray]] = {
    "saturation": lambda image, value, random: pictures.saturation(image, value),
    "contrast": lambda image, value, random: pictures.contrast(image, value),
    "blocks": lambda image, value, random: pictures.blocks(image, int(value), random),
    "noise": pictures.noise,
    "blur": lambda image, value, random: pictures.blur(image, int(value)),
    "pixelation": lambda image, value, random: pictures.pixelation(image, int(value)),
}


class Degradation(NamedTuple):
    """A perturbation by its name and level, 1 to 5: "blur:3"."""

    kind: str
    level: int


def degradation(text: str) -> Degradation:
    """What "blur:3" means.

    Raises:
        UserError: there is no such kind or level.
    """
    kind, _, level = text.partition(":")
    if kind not in KINDS:
        raise UserError(f"there is no degradation {kind!r}: give one of {', '.join(KINDS)} with a level, as in blur:3")
    if level not in {"1", "2", "3", "4", "5"}:
        raise UserError(f"the level of {kind} is 1 to 5, got {level!r}: write it as in {kind}:3")
    return Degradation(kind, int(level))


def degrade(
    frames: Iterable[np.ndarray], kind: str, level: int, seed: int = 0, frame_rate: float = 25.0
) -> Iterator[np.ndarray]:
    """The frames of a video after a perturbation; a few of them are held, whatever its length.

    Args:
        frames: uint8 RGB (h, w, 3) or grey (h, w), all of one size; they are read as they are needed.
        kind: one of ``KINDS``.
        level: 1 to 5.
        seed: of noise and blocks, which are drawn anew for every frame.
        frame_rate: of the video, which H.264 spends its bits by.

    Yields:
        As many frames of the same kind, in their order.

    Raises:
        UserError: PyAV was built without libx264.
    """
    value = KINDS[kind][level - 1]
    if kind == "compression":
        return _each_rgb(frames, lambda colour: compressed(colour, int(value), frame_rate))
    change, random = _PICTURES[kind], np.random.default_rng(seed)
    return _each_rgb(frames, lambda colour: (change(image, value, random) for image in colour))


def _each_rgb(
    frames: Iterable[np.ndarray], change: Callable[[Iterator[np.ndarray]], Iterator[np.ndarray]]
) -> Iterator[np.ndarray]:
    """Grey frames pass as coloured ones and come back grey."""
    grey = False

    def coloured() -> Iterator[np.ndarray]:
        nonlocal grey
        for frame in frames:
            grey = frame.ndim == 2
            yield np.repeat(frame[..., None], 3, axis=2) if grey else frame

    for image in change(coloured()):
        yield cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) if grey else image
