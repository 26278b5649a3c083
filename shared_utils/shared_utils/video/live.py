"""Cameras and network streams, opened again when they stop."""

from __future__ import annotations

import logging
import re
import sys
import time
from collections.abc import Iterator

import av
from av.error import FFmpegError

from shared_utils import UserError
from shared_utils.video.decoding import Picture, decoded, video_stream

log = logging.getLogger(__name__)
NETWORK = re.compile(r"^(rtsp|rtsps|rtmp|http|https|tcp|udp|srt|rtp)://", re.IGNORECASE)


class Stream:
    """A camera (its number) or an address, connected.

    ``pictures()`` begins with ``first`` and ends when the stream has stopped and ``reconnect`` attempts in a row have
    failed. Times count from the first frame; after an interruption they go on by the wall clock.
    """

    def __init__(self, address: str, frame_rate: float | None, reconnect: int, pause: float) -> None:
        self.address, self.reconnect, self.pause = address, reconnect, pause
        # An address may carry a password, which is not for logs.
        self.shown = f"camera {address}" if address.isdecimal() else re.sub(r"//[^/@]*@", "//", address)
        self.name = re.sub(r"\W+", "_", self.shown.split("://")[-1]) if "://" in address else f"camera{address}"
        self._pictures, rate = self._connect()
        self.frame_rate = frame_rate or rate
        self._began, self._first = time.monotonic(), self._readable()

    @property
    def first(self) -> av.VideoFrame:
        """The first frame that could be decoded."""
        assert self._first.frame is not None
        return self._first.frame

    def _connect(self) -> tuple[Iterator[Picture], float]:
        kind, place, options = None, self.address, {}
        if self.address.isdecimal():
            mac = sys.platform == "darwin"
            kind, place = ("avfoundation", self.address) if mac else ("v4l2", f"/dev/video{self.address}")
        elif self.address.lower().startswith("rtsp"):
            options = {"rtsp_transport": "tcp"}
        try:
            container = av.open(place, format=kind, options=options, timeout=(10.0, 10.0))
        except (FFmpegError, OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            fix = "check that it is there and that nothing else uses it" if kind else "check that it is sending"
            raise UserError(f"{self.shown} cannot be opened ({reason}): {fix}") from None
        stream = video_stream(container, self.shown)
        stream.thread_type = "SLICE"  # threads over frames would hold some of them back
        return decoded(container, stream, self.shown), float(stream.average_rate or 25)

    def _readable(self) -> Picture:
        """The first frame that can be decoded: whoever joins in the middle waits for a key frame."""
        picture = self._next()
        while picture is not None and picture.frame is None:
            picture = self._next()
        if picture is None:
            raise UserError(f"{self.shown} sends no frame that can be decoded: check what it sends")
        return picture

    def _next(self) -> Picture | None:
        try:
            return next(self._pictures, None)
        except (FFmpegError, OSError):
            return None

    def _connect_again(self) -> Picture | None:
        wait = self.pause
        for attempt in range(1, self.reconnect + 1):
            log.warning("%s stopped: connecting again (%d of %d)", self.shown, attempt, self.reconnect)
            time.sleep(wait)
            wait *= 2
            try:
                self._pictures, _ = self._connect()
                return self._readable()
            except UserError:
                continue
        log.warning("%s does not come back: ended here", self.shown)
        return None

    def pictures(self) -> Iterator[Picture]:
        """What the stream sends from now on."""
        picture: Picture | None = self._first
        zero, shift, last = self._first.time, 0.0, 0.0
        while picture is not None:
            now = time.monotonic() - self._began
            last = max(last, now if picture.time is None or zero is None else picture.time - zero + shift)
            yield Picture(last, picture.frame)
            picture = self._next()
            if picture is None:
                picture = self._connect_again()
                if picture is not None:
                    zero, shift = picture.time, max(time.monotonic() - self._began, last + 1 / self.frame_rate)
