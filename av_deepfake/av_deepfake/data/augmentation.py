"""What happens to a clip in training: one crop, one flip and one masked span for all of its frames."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from shared_utils import UserError


@dataclass(frozen=True)
class Augmentation:
    """How clips are changed in training.

    Args:
        flip: probability of a mirrored clip.
        time_mask: a span of up to so many frames is set to the mean of the clip (12 in RealForensics; ours: 0).
        frequency_mask: up to so many mel bands are set to the mean (27 in RealForensics; ours: 0).
    """

    flip: float = 0.5
    time_mask: int = 0
    frequency_mask: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.flip <= 1 or self.time_mask < 0 or self.frequency_mask < 0:
            raise UserError(f"data.augmentation: flip is 0..1 and masks are 0 or more, got {self}")

    def pictures(self, clip: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
        """A clip (t, h, w) uint8 -> (t, size, size)."""
        top, left = (int(rng.integers(side - size + 1)) for side in clip.shape[1:])
        clip = clip[:, top : top + size, left : left + size]
        if rng.random() < self.flip:
            clip = clip[:, :, ::-1]
        span = int(rng.integers(self.time_mask + 1))
        if span:
            start = int(rng.integers(len(clip) - min(span, len(clip)) + 1))
            clip = clip.copy()
            clip[start : start + span] = round(float(clip.mean()))
        return clip

    def mel(self, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """A log-mel picture (t, bands) float32 -> the same with some bands masked."""
        span = int(rng.integers(self.frequency_mask + 1))
        if span:
            start = int(rng.integers(rows.shape[1] - span + 1))
            rows = rows.copy()
            rows[:, start : start + span] = rows.mean()
        return rows


def centred(clip: np.ndarray, size: int) -> np.ndarray:
    """The middle of a clip (t, h, w), as all tests take it."""
    if min(clip.shape[1:]) < size:
        raise UserError(f"mouth crops of {clip.shape[2]}x{clip.shape[1]} px are smaller than data.size {size}")
    top, left = ((side - size) // 2 for side in clip.shape[1:])
    return clip[:, top : top + size, left : left + size]
