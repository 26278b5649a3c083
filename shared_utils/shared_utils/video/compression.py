"""Frames as they come out of a compressed video, in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction

import av
import numpy as np

from shared_utils import UserError


def compressed(frames: Iterable[np.ndarray], rate_factor: int, frame_rate: float) -> Iterator[np.ndarray]:
    """Frames after H.264 (libx264, preset medium, one thread: the same bits on every machine).

    Args:
        frames: uint8 RGB (h, w, 3), all of one size; they are read as they are needed.
        rate_factor: constant rate factor of the encoder.
        frame_rate: of the video, which the encoder spends its bits by.

    Returns:
        An iterator over as many frames of the same size, in their order; a few of them are held, whatever their number.

    Raises:
        UserError: PyAV was built without libx264.
    """
    if "libx264" not in av.codecs_available:
        raise UserError("this PyAV has no libx264, which compresses videos: install av from the package index")
    return _compressed(frames, rate_factor, frame_rate)


def _compressed(frames: Iterable[np.ndarray], rate_factor: int, frame_rate: float) -> Iterator[np.ndarray]:
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


def _encoder(height: int, width: int, rate_factor: int, frame_rate: float) -> av.VideoCodecContext:
    import torch  # not above: commands that read frames answer a wrong argument before they load it

    encoder = av.VideoCodecContext.create("libx264", "w")
    encoder.width, encoder.height = width + width % 2, height + height % 2
    encoder.pix_fmt, encoder.framerate = "yuv420p", Fraction(frame_rate).limit_denominator(1001)
    encoder.options = {"crf": str(rate_factor), "preset": "medium"}
    # With AVX-512, the macroblock tree of x264 reads past the end of rows that are no multiple of 64 pixels, and now and
    # then writes another stream for the same frames; its kernels for AVX2 don't, and write the same bits otherwise.
    if torch.backends.cpu.get_cpu_capability() == "AVX512":
        encoder.options |= {"x264-params": "asm=AVX2"}
    encoder.thread_count = 1
    return encoder


def _picture(frame: av.VideoFrame, height: int, width: int) -> np.ndarray:
    return frame.to_ndarray(format="rgb24")[:height, :width]
