"""Frames as they come out of a compressed video, through PyAV and in memory (spec 5.4, VC)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction

import av
import numpy as np

from shared_utils import UserError

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
    if "libx264" not in av.codecs_available:
        raise UserError(
            "this PyAV has no libx264, which compresses the videos: install the wheel of av from the package index"
        )
    return _compressed(frames, VIDEO_LEVELS[level - 1], frame_rate)


def _compressed(frames: Iterable[np.ndarray], rate_factor: int, frame_rate: int) -> Iterator[np.ndarray]:
    encoder: av.VideoCodecContext | None = None
    decoder = av.VideoCodecContext.create("h264", "r")
    decoder.thread_count = 1
    height = width = 0
    for number, image in enumerate(frames):
        if encoder is None:
            height, width = image.shape[:2]
            encoder = _encoder(height, width, rate_factor, frame_rate)
        # H.264 wants even sides: the last row or column of an odd one is repeated, and cut off again.
        even = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        frame = av.VideoFrame.from_ndarray(even, format="rgb24")
        frame.pts = number
        for packet in encoder.encode(frame):
            yield from (_picture(out, height, width) for out in decoder.decode(packet))
    if encoder is not None:
        for packet in encoder.encode(None):
            yield from (_picture(out, height, width) for out in decoder.decode(packet))
        yield from (_picture(out, height, width) for out in decoder.decode(None))


def _encoder(height: int, width: int, rate_factor: int, frame_rate: int) -> av.VideoCodecContext:
    encoder = av.VideoCodecContext.create("libx264", "w")
    encoder.width, encoder.height = width + width % 2, height + height % 2
    encoder.pix_fmt, encoder.framerate = "yuv420p", Fraction(frame_rate)
    encoder.options = {"crf": str(rate_factor), "preset": "medium"}
    encoder.thread_count = 1  # the same bits on every machine
    return encoder


def _picture(frame: av.VideoFrame, height: int, width: int) -> np.ndarray:
    return frame.to_ndarray(format="rgb24")[:height, :width]
