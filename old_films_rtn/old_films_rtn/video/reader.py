"""Video files through PyAV: their frames, and what a copy of them has to keep."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.codec
import av.container
import av.error
import av.filter
import numpy as np
from av.sidedata.sidedata import Type

from old_films_rtn.video.frame import Frame
from shared_utils import UserError

log = logging.getLogger(__name__)

# The luma of these lies alone in the first plane, in the low bits of little-endian words.
_LUMA_FIRST = re.compile(r"(yuvj?4\d\dp|yuva4\d\dp|gray)(\d+le)?|nv12|nv21|nv16")


class VideoFile:
    """A video file: its frames, and what a copy of it has to keep.

    damage: after ``frames`` has run to its end, what was wrong with the file (None: nothing). origin: time stamp of the
    first frame, once it has been read. interlaced: whether pictures were, of which ``frames`` gives deinterlaced ones.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.damage: str | None = None
        self.origin, self.interlaced = 0, False
        with self.open() as container:
            if not container.streams.video:
                raise UserError(f"{path} has no picture in it: give a video file")
            stream = container.streams.video[0]
            self.time_base = stream.time_base or Fraction(1, av.time_base)
            self.rate = stream.average_rate or stream.guessed_rate or Fraction(25)
            context = stream.codec_context
            self.colour_tags = {
                tag: getattr(context, tag) for tag in ("color_range", "colorspace", "color_primaries", "color_trc")
            }
            # Other containers count packets, not pictures.
            self.announced = stream.frames if "mp4" in container.format.name else 0
            duration = stream.duration and float(stream.duration * self.time_base)
            self.duration: float | None = duration or (container.duration and container.duration / av.time_base)

    def open(self) -> av.container.InputContainer:
        try:
            return av.open(str(self.path))
        except av.error.FFmpegError as error:
            raise UserError(f"{self.path} is not a video that can be read ({reason(error)}): copy it again") from error

    def _progressive(self, pictures: Iterator[av.VideoFrame], stream: Any) -> Iterator[av.VideoFrame]:
        """The pictures; from the first interlaced one on without their lines of two moments."""
        deinterlace = None
        for picture in pictures:
            if deinterlace is None and picture.interlaced_frame:
                deinterlace = _Deinterlacer(stream)
                if not self.interlaced:
                    log.warning("%s is interlaced: its pictures are deinterlaced (bwdif), lines and all", self.path)
                self.interlaced = True
            if deinterlace is None:
                yield picture
            else:
                yield from deinterlace(picture)
        if deinterlace is not None:
            yield from deinterlace(None)

    def frames(self) -> Iterator[Frame]:
        """Every frame that decodes, with time stamps that rise; of a truncated file those before the damage.

        Raises UserError when not even one frame decodes, or when the size of the picture changes.
        """
        count, size, last = 0, None, None
        step = max(1, round(1 / (self.rate * self.time_base)))
        self.damage = None
        with self.open() as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            try:
                for picture in self._progressive(container.decode(stream), stream):
                    pts = picture.pts
                    if pts is None or (last is not None and pts <= last):
                        pts = 0 if last is None else last + step
                    frame = Frame(count, _readable(picture), pts)
                    self.origin = pts if count == 0 else self.origin
                    last, size = pts, size or frame.size
                    if frame.size != size:
                        raise UserError(
                            f"{self.path}: the picture is {size[1]}x{size[0]} at first and {frame.size[1]}x"
                            f"{frame.size[0]} from frame {count}; scale it to one size"
                        )
                    count += 1
                    yield frame
            except av.error.FFmpegError as error:
                self.damage = reason(error)
        if count == 0:
            raise UserError(f"{self.path}: no frame decodes ({self.damage or 'it is cut short'}); copy it again")
        # A file cut short may also just end, before what its header announces.
        seconds = float((last or 0) * self.time_base)
        if self.damage is None and self.duration and seconds < self.duration - max(1.0, 0.05 * self.duration):
            self.damage = f"the picture ends at {seconds:.1f} of {self.duration:.1f} s"
        if self.damage is None and count < self.announced:
            self.damage = f"{self.announced - count} of {self.announced} frames are missing"


class _Deinterlacer:
    """FFmpeg's bwdif: a picture in, the one before out; pictures that are not interlaced pass through."""

    def __init__(self, stream: Any) -> None:
        self.graph = av.filter.Graph()
        entry, exit_ = self.graph.add_buffer(template=stream), self.graph.add("buffersink")
        # A picture for a picture, by the field order that it says, and only where it says that it is interlaced.
        bwdif = self.graph.add("bwdif", "mode=send_frame:parity=auto:deint=interlaced")
        entry.link_to(bwdif)
        bwdif.link_to(exit_)
        self.graph.configure()
        self.time_base = stream.time_base

    def __call__(self, picture: av.VideoFrame | None) -> Iterator[av.VideoFrame]:
        """What comes out when a picture, or the end, goes in."""
        self.graph.push(picture)
        with suppress(BlockingIOError, EOFError):
            while True:
                done: Any = self.graph.pull()
                if done.pts is not None and done.time_base is not None:
                    done.pts = round(done.pts * done.time_base / self.time_base)  # the filter counts in fields
                    done.time_base = self.time_base
                yield done


def reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or type(error).__name__


def _readable(picture: av.VideoFrame) -> av.VideoFrame | np.ndarray:
    """The picture with its luma alone in the first plane; RGB as an array."""
    name = picture.format.name
    if _LUMA_FIRST.fullmatch(name):
        return picture
    if picture.format.is_rgb or picture.format.has_palette:
        return picture.to_ndarray(format="rgb48le" if picture.format.components[0].bits > 8 else "rgb24")
    planar = [f"yuv4{sampling}p{bits}" for sampling in ("20", "22", "44") for bits in ("", "10le", "12le", "16le")]
    return picture.reformat(format=nearest_format(name, [*planar, "gray", "gray16le"]))


def nearest_format(name: str, candidates: list[str]) -> str:
    """The pixel format among ``candidates`` that loses least of ``name``."""
    if name in candidates:
        return name
    best, _ = av.codec.codec.find_best_pix_fmt_of_list(candidates, name)
    return name if best is None else best.name


def display_matrix(source: av.container.InputContainer) -> list[int] | None:
    """The rotation of the picture as FFmpeg's 9 integers; None where there is none."""
    kind = Type.DISPLAYMATRIX
    for picture in source.decode(video=0):
        beside: Any = picture.side_data
        found = next((data for data in beside if data.type == kind), None)
        return None if found is None else np.frombuffer(bytes(found), "<i4").tolist()
    return None
