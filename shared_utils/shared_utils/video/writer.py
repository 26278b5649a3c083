"""Frames to a video file that appears under its name when it is whole."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import numpy as np

from shared_utils.files import replacing


class Writer:
    """Writes RGB frames as H.264 in MP4, under a temporary name that becomes ``path`` at the end of the block.

        with Writer("out.mp4", (480, 640), 25) as writer:
            writer.write(image)

    The file is written in fragments: what a killed process leaves under the temporary name plays up to there. An error
    inside the block removes it, and what was at ``path`` stays.

    Args:
        path: the file; its folder is made where it is missing.
        size: (height, width) of the frames. H.264 wants even sides: the last row or column of an odd one is cut off.
        frame_rate: frames per second, of frames that are written without a time.
    """

    def __init__(self, path: str | Path, size: tuple[int, int], frame_rate: float) -> None:
        self.size = tuple(size)
        self._height, self._width = (side - side % 2 for side in size)
        if not (self._height and self._width and frame_rate > 0):
            raise ValueError(
                f"a video needs sides of 2 pixels or more and a positive frame rate, got {size}, {frame_rate}"
            )
        codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
        rate = Fraction(frame_rate).limit_denominator(1001)
        # A clock in which both the frame rate and any other time are exact, or nearly; mpeg4 has 16 bits for it.
        finer = max(1, -(-90000 // rate.numerator)) if codec == "libx264" else 1
        self._step = rate.denominator * finer
        self._time_base = Fraction(1, rate.numerator * finer)
        self._next, self._last = 0, -1
        self._replacing = replacing(path)
        temporary = self._replacing.__enter__()
        # A fragment a second, on its way to the disk at once.
        fragments = {"movflags": "frag_keyframe+empty_moov+default_base_moof", "flush_packets": "1"}
        self._container = av.open(str(temporary), "w", format="mp4", options=fragments)
        options = {"g": str(max(1, round(frame_rate)))}
        if codec == "libx264":
            options |= {"crf": "23", "preset": "veryfast", "tune": "zerolatency"}
        self._stream = self._container.add_stream(codec, rate, options=options)
        self._stream.height, self._stream.width = self._height, self._width
        self._stream.pix_fmt = "yuv420p"
        self._stream.codec_context.time_base = self._time_base

    def write(self, image: np.ndarray, time: float | None = None) -> None:
        """Append a frame.

        Args:
            image: RGB uint8 (H, W, 3).
            time: seconds; one frame after the one before where not given.

        Raises:
            ValueError: another size, or a time that does not come after the one before.
        """
        if image.shape != (*self.size, 3):
            raise ValueError(f"a frame of {image.shape} in a video of {(*self.size, 3)}")
        stamp = self._next if time is None else round(time / self._time_base)
        if stamp <= self._last:
            raise ValueError(f"the time {time} s does not come after the frame before")
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image[: self._height, : self._width]), format="rgb24")
        frame.pts, frame.time_base, frame.duration = stamp, self._time_base, self._step
        self._last, self._next = stamp, stamp + self._step
        self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        """Finish the file and give it its name; the end of a ``with`` block does it."""
        try:
            self._container.mux(self._stream.encode())
            self._container.close()
        except BaseException as error:
            self._replacing.__exit__(type(error), error, error.__traceback__)
            raise
        self._replacing.__exit__(None, None, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
            return
        self._container.close()
        self._replacing.__exit__(kind, error, traceback)
