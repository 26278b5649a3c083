"""CIE Lab, and the training inputs of the released colour variants. Functions of arrays.

Only this data side of colour was ever released.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection

import numpy as np
from PIL import Image
from skimage import color


def to_lab(rgb: np.ndarray) -> np.ndarray:
    """(..., h, w, 3) RGB, uint8 or float in [0, 1] -> (..., 3, h, w) float32 of L - 50, a, b."""
    lab = np.moveaxis(color.rgb2lab(rgb), -1, -3).astype(np.float32)
    lab[..., 0, :, :] -= 50
    return lab


def from_lab(lab: np.ndarray) -> np.ndarray:
    """The inverse of ``to_lab``: (..., 3, h, w) -> (..., 3, h, w) RGB in [0, 1], clipped to what a screen shows."""
    channels_last = np.moveaxis(lab, -3, -1).astype(np.float64)
    channels_last[..., 0] += 50
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of colours that no screen shows: they are clipped, as promised
        return np.moveaxis(color.lab2rgb(channels_last), -1, -3).astype(np.float32)


def grey(rgb: np.ndarray) -> np.ndarray:
    """(h, w, 3) uint8 -> (h, w) uint8, Pillow's ``L``."""
    return np.asarray(Image.fromarray(np.ascontiguousarray(rgb)).convert("L"))


def published_rgb_input(clip_bgr: np.ndarray, keyframe: int) -> np.ndarray:
    """The first released variant of training inputs: all frames grey but one.

    clip_bgr: (t, h, w, 3) uint8, B, G, R. Returns the same shape and order, float32 in [0, 1].
    """
    inputs = clip_bgr.astype(np.float32) / 255
    for index in range(len(inputs)):
        if index != keyframe:
            inputs[index] = grey(clip_bgr[index][..., ::-1]).astype(np.float32)[..., None] / 255
    return inputs


def keep_colour(lab: np.ndarray, frames: Collection[int]) -> np.ndarray:
    """The Lab variants: a and b are zero but in ``frames`` (negative indices count from the end); a copy.

    lab: (t, 3, h, w). Variant 2 keeps one key-frame, variant 3 a key-frame and the last frame, variant 4 the last one.
    """
    kept = {index % len(lab) for index in frames}
    inputs = lab.copy()
    for index in range(len(lab)):
        if index not in kept:
            inputs[index, 1:] = 0
    return inputs


def lightness(grey: np.ndarray) -> np.ndarray:
    """L - 50 of grey values in [0, 1] (sRGB), float32."""
    steps = np.linspace(0, 1, 4096)
    table = color.rgb2lab(np.repeat(steps[None, :, None], 3, axis=2))[0, :, 0] - 50
    return np.interp(grey, steps, table).astype(np.float32)
