"""The seven picture degradations of the published robustness test (spec 5.4), each a function of one picture.

Pictures are uint8 RGB (h, w, 3); values are truncated where the published code truncates.
"""

from __future__ import annotations

import cv2
import numpy as np
from PIL import Image

from shared_utils import UserError

SIDE = 256
"""The published test resizes every picture to this side before it degrades it."""
BLOCK = 8
_GREY = 127


def prepared(image: np.ndarray) -> np.ndarray:
    """The picture at 256 x 256, resized as published (antialiased bicubic); the same picture where it is that size."""
    if image.shape[:2] == (SIDE, SIDE):
        return image
    return np.asarray(Image.fromarray(image).resize((SIDE, SIDE), Image.Resampling.BICUBIC))


def saturation(image: np.ndarray, factor: float) -> np.ndarray:
    """Chroma scaled by ``factor``: 0 is grey."""
    scaled = _to_ycbcr(image)
    scaled[..., 1:] = 0.5 + (scaled[..., 1:] - 0.5) * factor
    return _from_ycbcr(scaled)


def contrast(image: np.ndarray, gain: float) -> np.ndarray:
    """All values times ``gain``."""
    return (image.astype(np.float32) * np.float32(gain)).astype(np.uint8)


def blocks(image: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Grey squares of 8 pixels.

    Args:
        image: of at least 256 pixels a side.
        corners: (k, 2) x, y of their upper left corners.

    Raises:
        UserError: the picture is smaller; the published code leaves such pictures as they are, without a word.
    """
    if min(image.shape[:2]) < SIDE:
        raise UserError(
            f"blocks of {BLOCK} pixels are for pictures of {SIDE} pixels or more, got {image.shape[1]} x {image.shape[0]}: "
            "resize the picture first"
        )
    covered = image.copy()
    for x, y in corners:
        covered[y : y + BLOCK, x : x + BLOCK] = _GREY
    return covered


def noise(image: np.ndarray, variance: float, normal: np.ndarray) -> np.ndarray:
    """Gaussian noise in luma and chroma.

    Args:
        image: the picture.
        variance: of values in 0 to 1.
        normal: (h, w, 3) standard normal numbers.
    """
    return _from_ycbcr((_to_ycbcr(image) / 255 + np.sqrt(variance) * normal) * 255)


def blur(image: np.ndarray, kernel: int) -> np.ndarray:
    """Gaussian blur with an odd kernel and a sixth of it as deviation."""
    return cv2.GaussianBlur(image, (kernel, kernel), kernel / 6)


def pixelation(image: np.ndarray, factor: int) -> np.ndarray:
    """Sampled down by ``factor`` and up again (published under the name JPEG)."""
    height, width = image.shape[:2]
    return cv2.resize(cv2.resize(image, (width // factor, height // factor)), (width, height))


def jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    """Compressed as JPEG; the published code takes quality 20 whatever the level."""
    _, buffer = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, int(quality)])
    decoded = cv2.imdecode(buffer, cv2.IMREAD_COLOR)
    assert decoded is not None, "OpenCV reads what it wrote"
    return decoded[..., ::-1]


def _to_ycbcr(image: np.ndarray) -> np.ndarray:
    """(h, w, 3) Y, Cb, Cr with the studio range applied to values of 0 to 255, as published."""
    values = cv2.cvtColor(image.astype(np.float32), cv2.COLOR_RGB2YCrCb)[..., [0, 2, 1]]
    values[..., 0] = (values[..., 0] * 219 + 16) / 255
    values[..., 1:] = (values[..., 1:] * 224 + 16) / 255
    return values


def _from_ycbcr(values: np.ndarray) -> np.ndarray:
    values = values.astype(np.float32)
    values[..., 0] = (values[..., 0] * 255 - 16) / 219
    values[..., 1:] = (values[..., 1:] * 255 - 16) / 224
    rgb = cv2.cvtColor(np.ascontiguousarray(values[..., [0, 2, 1]]), cv2.COLOR_YCrCb2RGB)
    return np.clip(rgb, 0, 255).astype(np.uint8)
