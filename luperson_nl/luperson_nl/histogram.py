"""What an engineer would try first: histograms of hue, saturation and value over horizontal stripes."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np


class Bins(NamedTuple):
    """Stripes from top to bottom, bins of hue, saturation and value in each, and the share of the width left out at each side."""

    stripes: int
    hue: int
    saturation: int
    value: int
    margin: float = 0.0


GRID = tuple(
    Bins(stripes, *bins, margin)
    for stripes in (1, 4, 8, 16)
    for bins in ((8, 1, 1), (16, 1, 1), (8, 4, 1), (8, 4, 4), (16, 8, 4))
    for margin in (0.0, 0.15, 0.25)
)
"""What is tried on validation data."""


def features(images: np.ndarray, bins: Bins) -> np.ndarray:
    """Square roots of the histograms (so that a dot product compares by Bhattacharyya's coefficient), of unit length.

    Args:
        images: (n, h, w, 3) uint8 RGB.
        bins: of the histograms.

    Returns:
        (n, stripes hue saturation value) float32.
    """
    count, height, width, _ = images.shape
    cut = round(bins.margin * width)
    images = images[:, :, cut : width - cut]
    flat = np.ascontiguousarray(images).reshape(count * height, -1, 3)
    hsv = cv2.cvtColor(flat, cv2.COLOR_RGB2HSV_FULL).reshape(images.shape).astype(np.int64)
    index = np.zeros(images.shape[:3], np.int64)
    for channel, number in enumerate(bins[1:4]):
        index = index * number + hsv[..., channel] * number // 256
    each = bins.hue * bins.saturation * bins.value
    stripe = np.arange(height) * bins.stripes // height
    cell = (np.arange(count)[:, None, None] * bins.stripes + stripe[:, None]) * each + index
    counts = np.bincount(cell.ravel(), minlength=count * bins.stripes * each).reshape(count, -1)
    root = np.sqrt(counts, dtype=np.float32)
    return root / np.linalg.norm(root, axis=1, keepdims=True)
