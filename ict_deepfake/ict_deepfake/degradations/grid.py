"""The test grid: seven degradations of pictures, and the compression of videos, at five levels each (spec 5.4)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np

from ict_deepfake.degradations import operations
from shared_utils import UserError

KINDS: dict[str, tuple[float, ...]] = {
    "saturation": (0.4, 0.3, 0.2, 0.1, 0.0),
    "contrast": (0.85, 0.725, 0.6, 0.475, 0.35),
    "blocks": (16, 32, 48, 64, 80),
    "noise": (0.001, 0.002, 0.005, 0.01, 0.05),
    "blur": (7, 9, 13, 17, 21),
    "pixelation": (2, 3, 4, 5, 6),
    "jpeg": (90, 70, 50, 30, 20),
}
"""What each level means: factor, gain, number of blocks, variance, kernel, factor, quality. The published names are CS, CC,
BW, GNC, GB, JPEG and REAL_JPEG."""


def _blocks(image: np.ndarray, count: float, rng: np.random.Generator) -> np.ndarray:
    height, width = image.shape[:2]
    limits = [width - operations.BLOCK, height - operations.BLOCK]
    return operations.blocks(image, rng.integers(0, limits, (int(count), 2)))


_DEGRADE: dict[str, Callable[[np.ndarray, float, np.random.Generator], np.ndarray]] = {
    "saturation": lambda image, value, rng: operations.saturation(image, value),
    "contrast": lambda image, value, rng: operations.contrast(image, value),
    "blocks": _blocks,
    "noise": lambda image, value, rng: operations.noise(image, value, rng.standard_normal(image.shape)),
    "blur": lambda image, value, rng: operations.blur(image, int(value)),
    "pixelation": lambda image, value, rng: operations.pixelation(image, int(value)),
    "jpeg": lambda image, value, rng: operations.jpeg(image, int(value)),
}


def degrade(image: np.ndarray, kind: str, level: int, rng: np.random.Generator) -> np.ndarray:
    """A picture as the robustness test shows it.

    Args:
        image: uint8 RGB (h, w, 3) of any size; it is resized to 256 x 256 first, as published.
        kind: one of ``KINDS``.
        level: 1 to 5.
        rng: draws noise and blocks; see ``picture_rng``.

    Returns:
        (256, 256, 3) uint8.

    Raises:
        UserError: there is no such kind or level.
    """
    if kind not in KINDS:
        raise UserError(f"there is no degradation {kind!r}; there are {', '.join(KINDS)}")
    if level not in range(1, len(KINDS[kind]) + 1):
        raise UserError(f"the level of {kind} is 1 to {len(KINDS[kind])}, got {level}")
    return _DEGRADE[kind](operations.prepared(image), KINDS[kind][level - 1], rng)


def picture_rng(seed: int, name: str) -> np.random.Generator:
    """Random numbers of one picture: the same in whatever order and company pictures are degraded.

    Args:
        seed: of the evaluation.
        name: of the picture, its path for instance.
    """
    digest = hashlib.sha256(name.encode()).digest()
    return np.random.default_rng([seed, int.from_bytes(digest[:8], "big")])
