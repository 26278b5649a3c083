"""Which clips a set of videos has: an explicit table, so that a video without a clip shifts nobody's label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from av_deepfake.metrics import clip_counts
from shared_utils import UserError

FRAMES = 25
"""Of a clip: one second."""


@dataclass(frozen=True)
class ClipIndex:
    """Clips of videos, one row each.

    Args:
        video: (n,) number of the video.
        start: (n,) first frame.
        frames: (n,) how many frames it has; fewer than ``length`` where a short video is padded.
        length: of a clip.
        dropped: numbers of the videos that have no clip.
    """

    video: np.ndarray
    start: np.ndarray
    frames: np.ndarray
    length: int = FRAMES
    dropped: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.video)

    @classmethod
    def of(
        cls,
        frames: Sequence[int] | np.ndarray,
        length: int = FRAMES,
        most_frames: int | None = None,
        pad_short: bool = True,
    ) -> ClipIndex:
        """Clips without overlap.

        Args:
            frames: of each video.
            length: of a clip.
            most_frames: of a video that are used (270 in training, 110 in tests, as published).
            pad_short: a video shorter than a clip becomes one clip with a mask; otherwise it is dropped, as published.
        """
        counts = clip_counts(frames, length, most_frames)
        available = np.asarray(frames, np.int64)
        if pad_short:
            counts = np.where((counts == 0) & (available > 0), 1, counts)
        video = np.repeat(np.arange(len(counts)), counts)
        first = np.repeat(np.cumsum(counts) - counts, counts)
        start = (np.arange(len(video)) - first) * length
        own = np.minimum(available[video] - start, length)
        return cls(video, start, own, length, tuple(np.flatnonzero(counts == 0).tolist()))

    def rows_of(self, video: int) -> np.ndarray:
        """The rows of a video."""
        return np.flatnonzero(self.video == video)


def padded(pictures: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
    """A clip of ``length`` frames, the last one repeated, and which frames are real.

    Args:
        pictures: (t, h, w) uint8.
        length: wanted.

    Returns:
        (length, h, w) uint8 and (length,) bool.
    """
    if not len(pictures):
        raise UserError("a clip without a frame cannot be padded: leave the video out")
    valid = np.arange(length) < len(pictures)
    return pictures[np.minimum(np.arange(length), len(pictures) - 1)], valid
