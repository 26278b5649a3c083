"""The pictures of a container in the order in which they are shown, with a place for each one that cannot be decoded."""

from __future__ import annotations

import heapq
import logging
from collections.abc import Iterator
from fractions import Fraction
from typing import NamedTuple

import av
import numpy as np
from av.codec.context import ThreadType
from av.container import InputContainer
from av.error import FFmpegError, InvalidDataError
from av.stream import Disposition

from shared_utils import UserError

log = logging.getLogger(__name__)
MARGIN = 1e-3  # seconds: some containers round the times of their frames to milliseconds


class Picture(NamedTuple):
    """``time``: seconds on the file's clock, None where it has none. ``frame``: None where it cannot be decoded."""

    time: float | None
    frame: av.VideoFrame | None


class _NeedsOneThreadError(Exception):
    """With several threads a frame that cannot be decoded may take its neighbours with it."""


def open_file(path: str) -> InputContainer:
    """Open a media file.

    Raises:
        UserError: it cannot be opened.
    """
    try:
        return av.open(path)
    except FFmpegError as error:
        raise UserError(f"{path} cannot be read as a video ({error.strerror}): copy or encode it again") from None


def video_stream(container: InputContainer, name: str) -> av.VideoStream:
    """The video of a container; a cover picture is none.

    Raises:
        UserError: there is none, or FFmpeg does not know how to decode it.
    """
    stream = container.streams.best("video")
    if not isinstance(stream, av.VideoStream) or Disposition.attached_pic in stream.disposition:
        raise UserError(f"{name} cannot be read as a video (it has no video stream): give another file")
    if stream.codec_context is None:
        raise UserError(f"{name} cannot be read as a video (its codec is not known to FFmpeg): encode it again")
    return stream


def origin(container: InputContainer) -> float:
    """What the time stamps of a container say [s] at second 0; what lies before 0 is not shown."""
    return max(0, container.start_time or 0) / av.time_base


def time_base(stream: av.VideoStream | av.AudioStream) -> Fraction:
    """The seconds of a unit of a stream's time stamps."""
    return stream.time_base or Fraction(1, av.time_base)


def pictures(path: str, start: float = 0.0) -> Iterator[Picture]:
    """The pictures of a file, from the last one that can be decoded at or before ``start``, or from its beginning."""
    threads, last = "AUTO", None
    after = 0  # pictures without a time since the last one with a time
    while True:
        skip = after
        try:
            for picture in _from(path, start if last is None else last, threads):
                if picture.time is None and skip:
                    skip -= 1
                elif picture.time is None or last is None or picture.time > last:
                    last, after = (last, after + 1) if picture.time is None else (picture.time, 0)
                    yield picture
            return
        except _NeedsOneThreadError:
            threads = "SLICE"
        except FFmpegError as error:
            raise UserError(f"{path} cannot be read on ({error.strerror}): check the disk that it is on") from error


def _from(path: str, start: float, threads: str) -> Iterator[Picture]:
    back = 0.0
    while True:
        with open_file(path) as container:
            stream = video_stream(container, path)
            stream.thread_type = threads
            seeked = start - back > 0 and _seek(container, stream, start - back)
            items = decoded(container, stream, path)
            first = next(items, None)
            # A seek may end behind the wanted place, or at a picture that needs an earlier one.
            if seeked and (first is None or first.frame is None or first.time is None or first.time > start):
                back = max(1.0, 4 * back)
                continue
            if first is not None:
                yield first
                yield from items
            return


def _seek(container: InputContainer, stream: av.VideoStream, seconds: float) -> bool:
    try:
        container.seek(int((seconds + origin(container)) / time_base(stream)), stream=stream, backward=True)
    except (FFmpegError, OSError):
        return False
    return True


def decoded(container: InputContainer, stream: av.VideoStream, name: str) -> Iterator[Picture]:
    """The pictures of an opened container, from where it stands.

    Every packet stands for a picture. One whose picture does not come out, while later ones do, cannot be decoded. Where
    the packets only know the order in which they are decoded (AVI), the pictures take the packets' times in turn, and
    only what the decoder reports as an error is known to be missing; where they know nothing, there are no times.
    """
    zero, base = origin(container), float(time_base(stream))
    waiting: list[int] = []  # a heap of the time stamps of packets whose picture has not come out
    in_turn = container.format.name == "avi"
    tracked, latest, shown = True, None, None

    def at(stamp: int, frame: av.VideoFrame | None) -> Picture:
        return Picture(stamp * base - zero, frame)

    for packet in _packets(container, stream, name):
        if packet.size and not packet.is_discard and _is_shown(packet, stream):
            in_turn = in_turn or (latest is None and packet.pts is None)
            stamp = packet.dts if in_turn else packet.pts
            # Where the times start again (recordings put together), nothing can be concluded from them.
            if stamp is not None and latest is not None and (latest - stamp) * base > 10:
                tracked = False
            if stamp is not None and tracked:
                heapq.heappush(waiting, stamp)
                latest = stamp if latest is None else max(latest, stamp)
        try:
            frames = packet.decode()
        except FFmpegError:
            if stream.thread_type != ThreadType.SLICE:
                raise _NeedsOneThreadError from None
            frames = []
            if in_turn or not tracked:
                yield at(heapq.heappop(waiting), None) if tracked and waiting else Picture(None, None)
        for frame in frames:
            if tracked and not in_turn:
                while waiting and frame.pts is not None and waiting[0] < frame.pts:
                    stamp = heapq.heappop(waiting)
                    if not frame.interlaced_frame:  # there a packet may be half a picture
                        yield at(stamp, None)
                tracked = bool(waiting) and waiting[0] == frame.pts
            stamp = heapq.heappop(waiting) if tracked and waiting else None if in_turn else frame.pts
            going_on = stamp is not None and (shown is None or stamp > shown)
            shown = stamp if going_on else shown
            yield at(stamp, frame) if stamp is not None and going_on else Picture(None, frame)
    while tracked and waiting:
        yield at(heapq.heappop(waiting), None)


def _packets(container: InputContainer, stream: av.VideoStream, name: str) -> Iterator[av.Packet]:
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except InvalidDataError as error:
            log.warning("%s cannot be read on (%s): it ends here", name, error.strerror)
            return
        if packet is None:
            return
        yield packet


def _is_shown(packet: av.Packet, stream: av.VideoStream) -> bool:
    """VP8 has packets that are only there to be referred to."""
    return stream.codec_context.name != "vp8" or bool(bytes(packet)[0] >> 4 & 1)


def display_matrix(frame: av.VideoFrame) -> tuple[int, int, int, int]:
    """(a, b, c, d) of -1, 0 and 1: a pixel (x, y) of the picture is shown at (a x + c y, b x + d y), but for a shift.

    A phone films with its sensor's long side across and notes here how it was held. Turns that are not by 90 degrees are
    left to the nearest one that is.
    """
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return 1, 0, 0, 1
    a, b, _, c, d = np.frombuffer(bytes(data)[:20], np.int32).astype(float)
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return int(np.sign(a)) or 1, 0, 0, int(np.sign(d)) or 1
    return 0, int(np.sign(b)) or 1, int(np.sign(c)) or 1, 0


def upright(image: np.ndarray, matrix: tuple[int, int, int, int]) -> np.ndarray:
    """A picture (H, W, 3) as ``display_matrix`` says that it is shown."""
    a, b, c, d = matrix
    if not a:
        image = image.swapaxes(0, 1)
    image = image[:: b + d, :: a + c]
    return np.ascontiguousarray(image)


def rotation(matrix: tuple[int, int, int, int]) -> int:
    """The clockwise turn in degrees that a display matrix asks for: 0, 90, 180 or 270."""
    a, b, _, _ = matrix
    return {(1, 0): 0, (0, 1): 90, (-1, 0): 180, (0, -1): 270}[a, b]
