"""What of the network's output goes back into the picture, and what is reported about it. Functions of arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
import torch

from old_films_rtn.defect_map import THRESHOLD, change_map, defect_share
from old_films_rtn.detection import DETECTED, filled
from old_films_rtn.video.frame import to_unit


@dataclass(frozen=True)
class Compositing:
    """strength: share of the change that is made, 0 to 1. mask_threshold: from which probability on a pixel is a defect, for
    networks that have a detector; for others from which change on, as a share of the range from black to white; None:
    ``detection.DETECTED`` and ``defect_map.THRESHOLD``. everywhere: make the changes outside defects, too, which is what
    takes grain and flicker away. max_change: largest change, as a share of the range from black to white. grain: share of
    the removed grain that is put back outside defects."""

    strength: float = 1.0
    mask_threshold: float | None = None
    everywhere: bool = False
    max_change: float | None = None
    grain: float = 0.0

    @property
    def least_change(self) -> float:
        """The threshold, of a change."""
        return THRESHOLD if self.mask_threshold is None else self.mask_threshold

    @property
    def least_probability(self) -> float:
        """The threshold, of a probability."""
        return DETECTED if self.mask_threshold is None else self.mask_threshold

    @property
    def between(self) -> Compositing:
        """How what one pass restored goes into the next one."""
        return Compositing(mask_threshold=self.mask_threshold)


class Composite(NamedTuple):
    """The new luma codes (h, w), of the type of the old ones; the defect map (h, w) uint8, 255 on defects, 0 where nothing
    is one; and the change that it was made from, (h, w) in [0, 1]."""

    codes: np.ndarray
    defects: np.ndarray
    change: np.ndarray


def composite(
    luma: np.ndarray,
    black_white: tuple[int, int],
    output: np.ndarray,
    how: Compositing,
    residual: np.ndarray | None = None,
    protect: np.ndarray | None = None,
    given: np.ndarray | None = None,
) -> Composite:
    """The frame with the network's output inside its defect map.

    luma: codes of the frame. output (h, w) in [-1, 1]: of the network. residual (h, w): what its neighbours do not explain of
    it, in the same units (see ``confirmed``); None: every change counts. protect: (h, w) in [0, 1], 1 where nothing may
    change. given: a map (h, w) in [0, 1] in place of the one that is found. Added to the codes is a difference, so that
    where it is zero they stay what they were, bit for bit, in any bit depth.
    """
    black, white = black_white
    before = to_unit(luma, black_white)
    change = output - before
    mean = change_map(*(torch.from_numpy(plane)[None, None] for plane in (output, before)))
    if residual is not None and given is None:
        mean = mean * torch.from_numpy(confirmed(mean[0, 0].numpy(), residual, how.least_change))
    share = defect_share(mean, how.least_change)[0, 0].numpy() if given is None else given
    # In 8 bits, as it is written: a map that is given back as it is makes the same picture.
    defects = np.rint(255 * share).astype(np.uint8)
    share = defects / np.float32(255)
    if how.grain:
        removed = -change
        fine = removed - cv2.GaussianBlur(removed, (0, 0), 1.5)
        change = change + how.grain * (1 - share) * fine
    if how.max_change is not None:
        change = change.clip(-2 * how.max_change, 2 * how.max_change)
    change = how.strength * change
    if not how.everywhere:
        change = change * share
    if protect is not None:
        change = change * (1 - protect)
    codes = luma + np.rint(change * ((white - black) / 2))
    # The largest code has all the bits of white set: 255 for a white of 235 or 255, 1023 for one of 940.
    codes = codes.clip(0, 2 ** int(white).bit_length() - 1).astype(luma.dtype)
    return Composite(codes, defects, mean[0, 0].numpy())


EDGE, BORDER = 2, 0.25
"""Pixels at an edge of the frame that may belong to its border anyhow, and the share of an edge that is one."""


class Found(NamedTuple):
    """What a detector found in a frame: the luma codes (h, w) with the defects filled in, and the map (h, w) in [0, 1] in which
    the frame is changed."""

    codes: np.ndarray
    share: np.ndarray


def kept_probability(probability: np.ndarray, threshold: float) -> np.ndarray:
    """A probability (h, w) as it comes back from the 8 bits in which a film keeps it, without the frame's border.

    The edge of the gate is dark, upright, and in every frame, as scratches are. It is what reaches the threshold from an
    edge of the frame inwards, in a quarter of the rows or columns that begin there.
    """
    kept = np.rint(255 * probability).astype(np.uint8) / np.float32(255)
    for turns in range(4):
        side = np.rot90(kept, turns)  # a view
        inwards = side >= threshold
        inwards[:, :EDGE] = True
        inwards = np.logical_and.accumulate(inwards, axis=1)
        if (inwards.sum(1) > EDGE).mean() >= BORDER:
            side[inwards] = 0
    return kept


def fill_in(luma: np.ndarray, defects: np.ndarray, threshold: float) -> Found:
    """The frame (h, w) with the pixels filled in whose ``defects`` (h, w), a probability or a map that is given, reach the
    threshold."""
    codes = np.rint(filled(luma.astype(np.float32), defects, threshold)).astype(luma.dtype)
    return Found(codes, defect_share(torch.from_numpy(defects)[None, None], threshold)[0, 0].numpy())


def confirmed(change: np.ndarray, residual: np.ndarray, threshold: float) -> np.ndarray:
    """(h, w) bool: where something says that a change (h, w) was of a defect, and not of letters, posts and folds.

    Either the neighbours do not explain the pixel: half the threshold of ``residual`` on the mean of 3x3. Or it belongs to a
    line: seven tenths of a third of the frame's height above and below it were changed, too. A scratch that lasts is in
    all frames, and nothing else tells it from the picture.
    """
    unexplained = cv2.blur(np.minimum(residual, 2) / 2, (3, 3)) >= threshold / 2
    wide = cv2.dilate((change >= threshold).astype(np.float32), np.ones((1, 5), np.uint8))
    run = cv2.blur(wide, (1, max(3, change.shape[0] // 3)), borderType=cv2.BORDER_REFLECT)
    return unexplained | (run >= 0.7)


def report(before: np.ndarray, after: Composite, black_white: tuple[int, int]) -> dict:
    """What a human restorer wants to know of a frame: how much of it is defect, where the largest one is, how much the one
    that differs most differs from what the network has there, and how much was changed (both in 8-bit levels)."""
    hard = (after.defects >= 128).astype(np.uint8)
    count, _, boxes, _ = cv2.connectedComponentsWithStats(hard, connectivity=8)
    row = {"area": float(hard.mean()), "defects": count - 1}
    row |= dict.fromkeys(("x", "y", "width", "height", "difference"), "")
    if count > 1:
        largest = boxes[1 + int(np.argmax(boxes[1:, cv2.CC_STAT_AREA]))]
        row |= {name: int(value) for name, value in zip(("x", "y", "width", "height"), largest[:4], strict=True)}
        row["difference"] = 255 * float(after.change[hard.astype(bool)].max())
    black, white = black_white
    change = np.abs(after.codes.astype(np.float32) - before) * (255 / (white - black))
    return row | {"mean_change": float(change.mean()), "max_change": float(change.max())}
