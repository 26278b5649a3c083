"""Frames as they come out of a compressed video, through PyAV and in memory (spec 5.4, VC)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from shared_utils import UserError
from shared_utils.video import compressed

VIDEO_LEVELS = (30, 32, 35, 38, 40)
"""The constant rate factor of H.264 at levels 1 to 5."""


def compress_video(frames: Iterable[np.ndarray], level: int, frame_rate: int = 25) -> Iterator[np.ndarray]:
    """Frames after H.264.

    Args:
        frames: uint8 RGB (h, w, 3), all of one size; they are read as they are needed.
        level: 1 to 5.
        frame_rate: of the video.

    Yields:
        As many frames of the same size, in their order.

    Raises:
        UserError: there is no such level, or PyAV was built without libx264.
    """
    if level not in range(1, len(VIDEO_LEVELS) + 1):
        raise UserError(f"the level of a video's compression is 1 to {len(VIDEO_LEVELS)}, got {level}")
    return compressed(frames, VIDEO_LEVELS[level - 1], frame_rate)
