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


def mean_shifts(donors: np.ndarray, targets: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """(n, 3): the targets' mean colours inside the masks less the donors'.

    Args:
        donors: (n, h, w, 3) float32.
        targets: (n, h, w, 3) float32.
        masks: (n, h, w) float32 of 0 and 1.
    """
    n = len(donors)
    flat = masks.reshape(n, 1, -1)
    count = np.maximum(flat.sum(2), _LEAST_PIXELS)
    return (np.matmul(flat, targets.reshape(n, -1, 3)) - np.matmul(flat, donors.reshape(n, -1, 3)))[:, 0] / count


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
    flat = masks.reshape(n, 1, -1)
    count = np.maximum(flat.sum(2, keepdims=True), _LEAST_PIXELS)

    def lab(images: np.ndarray) -> np.ndarray:
        long = images.reshape(n * height, width, 3) * np.float32(1 / 255)
        return cv2.cvtColor(long, cv2.COLOR_RGB2LAB).reshape(n, height * width, 3)

    def moments(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        mean = np.matmul(flat, values) / count
        square = np.matmul(flat, values * values) / count
        return mean, np.sqrt(np.maximum(square - mean * mean, 1e-2))

    ours = lab(donors)
    (mean, deviation), (wanted, spread) = moments(ours), moments(lab(targets))
    factor = np.clip(spread / deviation, 0.25, 4)  # a flat donor is not blown up into noise
    rows = ours.reshape(n, height, width * 3)
    rows *= np.tile(factor, (1, 1, width))
    rows += np.tile(wanted - factor * mean, (1, 1, width))
    back = cv2.cvtColor(ours.reshape(n * height, width, 3), cv2.COLOR_LAB2RGB)
    back *= np.float32(255)
    return np.clip(back, 0, 255, out=back).reshape(donors.shape)
