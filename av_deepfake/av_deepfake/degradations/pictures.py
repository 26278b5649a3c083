"""Six of the seven perturbations of DeeperForensics, each a function of one picture.

Pictures are uint8 RGB (h, w, 3); values are truncated where the published code truncates.
"""

from __future__ import annotations

import cv2
import numpy as np

BLOCK, GREY = 8, 128
_SIDE = 256
"""The side at which the published numbers of blocks are meant."""


def saturation(image: np.ndarray, factor: float) -> np.ndarray:
    """Chroma times ``factor``: 0 is grey."""
    scaled = _to_ycbcr(image)
    scaled[..., 1:] = 0.5 + (scaled[..., 1:] - 0.5) * factor
    return _from_ycbcr(scaled)


def contrast(image: np.ndarray, gain: float) -> np.ndarray:
    """All values times ``gain``."""
    return (image.astype(np.float32) * np.float32(gain)).astype(np.uint8)


def blocks(image: np.ndarray, count: int, random: np.random.Generator) -> np.ndarray:
    """Grey squares of 8 pixels, ``count`` for each whole 256 pixels of the shorter side.

    Pictures below 256 pixels get as many as a picture of 256; the published code leaves them as they are, silently.
    """
    height, width = image.shape[:2]
    covered = image.copy()
    number = count * max(1, min(height, width) // _SIDE)
    corners = random.integers(0, [max(1, width - BLOCK), max(1, height - BLOCK)], (number, 2))
    for x, y in corners:
        covered[y : y + BLOCK, x : x + BLOCK] = GREY
    return covered


def noise(image: np.ndarray, variance: float, random: np.random.Generator) -> np.ndarray:
    """Gaussian noise in luma and chroma; the variance is of values in 0..1."""
    normal = random.standard_normal(image.shape, np.float32)
    return _from_ycbcr(_to_ycbcr(image) + np.float32(np.sqrt(variance)) * normal)


def blur(image: np.ndarray, kernel: int) -> np.ndarray:
    """Gaussian blur with an odd kernel, and a sixth of it as deviation."""
    return cv2.GaussianBlur(image, (kernel, kernel), kernel / 6)


def pixelation(image: np.ndarray, factor: int) -> np.ndarray:
    """Sampled down by ``factor`` and up again."""
    height, width = image.shape[:2]
    small = max(1, width // factor), max(1, height // factor)
    return cv2.resize(cv2.resize(image, small), (width, height))


def _to_ycbcr(image: np.ndarray) -> np.ndarray:
    """(h, w, 3) float32 Y, Cb, Cr in 0..1, within the studio range."""
    values = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2YCrCb)[..., [0, 2, 1]]
    values[..., 0] = (values[..., 0] * 219 + 16) / 255
    values[..., 1:] = ((values[..., 1:] - 0.5) * 224 + 128) / 255
    # Grey is 128 of 255 there; the factor of the saturation turns around 0.5.
    return values


def _from_ycbcr(values: np.ndarray) -> np.ndarray:
    """The inverse of ``_to_ycbcr``, rounded and cut to 0..255."""
    values = values.astype(np.float32) * 255
    values[..., 0] = (values[..., 0] - 16) / 219
    values[..., 1:] = (values[..., 1:] - 128) / 224 + 0.5
    rgb = cv2.cvtColor(np.ascontiguousarray(values[..., [0, 2, 1]]), cv2.COLOR_YCrCb2RGB)
    return np.clip(np.rint(rgb * 255), 0, 255).astype(np.uint8)
