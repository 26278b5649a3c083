"""Colour correction: the donor's colours inside the mask are moved to the target's (spec 2.3, step 3)."""

from __future__ import annotations

import cv2
import numpy as np

_LEAST_PIXELS = 1e-3


def moved_mean(donor: np.ndarray, target: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The donor with the target's mean colour inside the mask; outside it stays as it is.

    Args:
        donor: (h, w, 3) uint8.
        target: (h, w, 3) uint8.
        mask: (h, w), inside where not 0.

    Returns:
        (h, w, 3) uint8, clipped and truncated.
    """
    inside = mask != 0
    if not inside.any():
        return donor.copy()
    moved = donor[inside] - donor[inside].mean(0) + target[inside].mean(0)
    out = donor.copy()
    out[inside] = np.clip(moved, 0, 255)
    return out


def move_means(donors: np.ndarray, targets: np.ndarray, masks: np.ndarray) -> None:
    """``moved_mean`` of n pictures in place, over the whole of each picture (what lies outside is not blended).

    Args:
        donors: (n, h, w, 3) float32, overwritten.
        targets: (n, h, w, 3) float32.
        masks: (n, h, w) float32 of 0 and 1.
    """
    n, height, width, _ = donors.shape
    flat = masks.reshape(n, 1, -1)
    count = np.maximum(flat.sum(2), _LEAST_PIXELS)
    shift = (np.matmul(flat, targets.reshape(n, -1, 3)) - np.matmul(flat, donors.reshape(n, -1, 3)))[:, 0] / count
    rows = donors.reshape(n, height, width * 3)
    rows += np.tile(shift, (1, width))[:, None]
    np.clip(rows, 0, 255, out=rows)


def reinhard(donors: np.ndarray, targets: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Donors with the targets' means and deviations inside the mask, in the Lab colour space (Reinhard et al. 2001).

    Args:
        donors: (n, h, w, 3) float32, 0 to 255, RGB.
        targets: the same.
        masks: (n, h, w) float32 of 0 and 1.

    Returns:
        (n, h, w, 3) float32, 0 to 255.
    """
    n, height, width, _ = donors.shape

    def lab(images: np.ndarray) -> np.ndarray:
        long = images.reshape(n * height, width, 3) * np.float32(1 / 255)
        return cv2.cvtColor(long, cv2.COLOR_RGB2LAB).reshape(n, height * width, 3)

    flat = masks.reshape(n, 1, -1)
    count = np.maximum(flat.sum(2, keepdims=True), _LEAST_PIXELS)

    def moments(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        mean = np.matmul(flat, values) / count
        square = np.matmul(flat, values * values) / count
        return mean, np.sqrt(np.maximum(square - mean * mean, 1e-2))

    ours = lab(donors)
    (mean, deviation), (wanted, spread) = moments(ours), moments(lab(targets))
    # A flat donor (deviation near 0) is not blown up into noise.
    ours = (ours - mean) * np.clip(spread / deviation, 0.25, 4) + wanted
    back = cv2.cvtColor(ours.reshape(n * height, width, 3).astype(np.float32), cv2.COLOR_LAB2RGB)
    return np.clip(back * np.float32(255), 0, 255).reshape(donors.shape)
