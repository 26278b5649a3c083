"""What of the network's output goes back into the picture, and what is reported about it. Functions of arrays."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from old_films_rtn.video.frame import to_unit


@dataclass(frozen=True)
class Compositing:
    """strength: share of the change that is made, 0 to 1. mask_threshold: from which mask a pixel is a defect; None: three
    quarters of the way from the frame's median to 1, for how much a gate trusts neighbours where nothing is wrong differs
    from network to network. only_masked: change nothing else. max_change: largest change, as a share of the range from
    black to white. grain: share of the removed grain that is put back outside defects."""

    strength: float = 1.0
    mask_threshold: float | None = None
    only_masked: bool = False
    max_change: float | None = None
    grain: float = 0.0

    def threshold(self, mask: np.ndarray) -> float:
        """From which value of this frame's mask a pixel is a defect."""
        if self.mask_threshold is not None:
            return self.mask_threshold
        median = float(np.median(mask))
        return median + 0.75 * (1 - median)


def composite(
    luma: np.ndarray,
    black_white: tuple[int, int],
    output: np.ndarray,
    mask: np.ndarray,
    how: Compositing,
    protect: np.ndarray | None = None,
) -> np.ndarray:
    """The new luma codes (h, w), of the same type.

    luma: codes of the frame. output (h, w) in [-1, 1] and mask (h, w) in [0, 1]: of the network. protect: (h, w) in
    [0, 1], 1 where nothing may change. Added to the codes is a difference, so that where it is zero they stay what they
    were, bit for bit, in any bit depth.
    """
    black, white = black_white
    change = output - to_unit(luma, black_white)
    if how.grain:
        removed = -change
        fine = removed - cv2.GaussianBlur(removed, (0, 0), 1.5)
        change = change + how.grain * (1 - defects(mask, how.threshold(mask))) * fine
    if how.max_change is not None:
        change = change.clip(-2 * how.max_change, 2 * how.max_change)
    change = how.strength * change
    if how.only_masked:
        change = change * defects(mask, how.threshold(mask))
    if protect is not None:
        change = change * (1 - protect)
    codes = luma + np.rint(change * ((white - black) / 2))
    # The largest code has all the bits of white set: 255 for a white of 235 or 255, 1023 for one of 940.
    return codes.clip(0, 2 ** int(white).bit_length() - 1).astype(luma.dtype)


def defects(mask: np.ndarray, threshold: float) -> np.ndarray:
    """(h, w) in [0, 1]: 1 on defects and two pixels around them, falling off softly, exactly 0 elsewhere."""
    hard = (mask >= threshold).astype(np.float32)
    if not hard.any():
        return hard
    return cv2.GaussianBlur(cv2.dilate(hard, np.ones((5, 5), np.uint8)), (7, 7), 1.5)


def report(
    before: np.ndarray, after: np.ndarray, black_white: tuple[int, int], mask: np.ndarray, threshold: float
) -> dict:
    """What a human restorer wants to know of a frame: how much of it is defect, where the largest one is, how sure the
    network is, and how much was changed (in 8-bit levels)."""
    hard = (mask >= threshold).astype(np.uint8)
    count, _, boxes, _ = cv2.connectedComponentsWithStats(hard, connectivity=8)
    row = {
        "area": float(hard.mean()),
        "defects": count - 1,
        "x": "",
        "y": "",
        "width": "",
        "height": "",
        "confidence": "",
    }
    if count > 1:
        largest = boxes[1 + int(np.argmax(boxes[1:, cv2.CC_STAT_AREA]))]
        row |= {name: int(value) for name, value in zip(("x", "y", "width", "height"), largest[:4], strict=True)}
        row["confidence"] = float(mask[hard.astype(bool)].mean())
    black, white = black_white
    change = np.abs(after.astype(np.float32) - before) * (255 / (white - black))
    return row | {
        "mean_mask": float(mask.mean()),
        "spread_mask": float(mask.std()),
        "threshold": float(threshold),
        "mean_change": float(change.mean()),
        "max_change": float(change.max()),
    }
