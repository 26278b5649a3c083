"""Frames into a video file through PyAV, with the sound, subtitles and descriptions of the film they came from."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.codec
import av.container
import av.error
import av.stream
import numpy as np

from old_films_rtn.video.folder import FrameFolder
from old_films_rtn.video.frame import BT709, FULL, LIMITED, Frame
from old_films_rtn.video.reader import VideoFile, display_matrix, nearest_format, reason
from shared_utils import UserError, files

log = logging.getLogger(__name__)

CONTAINERS = {
    ".mp4": "mp4",
    ".m4v": "mp4",
    ".mov": "mov",
    ".mkv": "matroska",
    ".webm": "webm",
    ".avi": "avi",
    ".ts": "mpegts",
}
CODECS = {".webm": "libvpx-vp9", ".avi": "ffv1"}
"""Encoders where H.264 does not fit: WebM does not allow it, AVI has no time stamps for its reordered frames."""
TRANSPORT_STREAM = {
    "h264",
    "hevc",
    "mpeg2video",
    "mpeg1video",
    "mpeg4",
    "aac",
    "ac3",
    "eac3",
    "mp2",
    "mp3",
    "opus",
    "dts",
}
TRANSPORT_STREAM |= {"dvb_subtitle", "dvb_teletext"}
"""What fits into MPEG-TS, for which FFmpeg names only what it writes where nothing is asked for."""
LOSSLESS = ("ffv1", "huffyuv", "ffvhuff")
WITH_CRF = ("libx264rgb", "libaom-av1", "libsvtav1", "libvpx")
_CONTAINERS_OWN = {"major_brand", "minor_version", "compatible_brands", "encoder"}


class _Rehearsed(Exception):
    """Nothing is to be kept."""


class VideoWriter:
    """Frames into a video like ``like``: its time stamps, aspect, rotation, colour tags, sound and subtitles.

    Sound and subtitles are copied packet by packet, never decoded. The file appears under its name when it is whole;
    used as a context manager.

    codec: an encoder of FFmpeg's; H.264 where not given (see ``CODECS``). crf: quality of encoders that know it, lower is
    better. rate: pictures a second, for folders. part: the frames are a part of the film, and so will be the sound; both
    begin where the film began. sound: copy the other streams.
    """

    def __init__(
        self,
        path: str | Path,
        like: VideoFile | FrameFolder,
        *,
        codec: str | None = None,
        crf: int = 16,
        rate: float | None = None,
        part: bool = False,
        sound: bool = True,
    ) -> None:
        self.path, self.like, self.crf, self.part = Path(path), like, crf, part
        suffix = self.path.suffix.lower()
        self.codec = codec or CODECS.get(suffix, "libx264")
        try:
            self.formats = [known.name for known in av.codec.Codec(self.codec, "w").video_formats or []]
        except (av.codec.codec.UnknownCodecError, ValueError):
            raise UserError(
                f"--codec {self.codec}: no encoder of that name; for example libx264, libx265, ffv1"
            ) from None
        os.environ.setdefault("SVT_LOG", "1")  # or its encoder tells its settings to the terminal
        self.rate = Fraction(rate).limit_denominator(1001) if rate and isinstance(like, FrameFolder) else like.rate
        self.time_base = like.time_base if isinstance(like, VideoFile) else 1 / self.rate
        self.sound = like if sound and isinstance(like, VideoFile) else None
        self._cleanup = ExitStack()
        self._last = 0
        # Any: PyAV's type of a stream depends on what the codec turns out to be.
        self._container: Any = None
        self._stream: Any = None
        self._others: Iterator[Any] = iter(())
        self._waiting: Any = None

    def __enter__(self) -> VideoWriter:
        self.temporary = self._cleanup.enter_context(files.replacing(self.path))
        return self

    def write(self, frame: Frame) -> None:
        """Encode a frame; its ``pts`` is in units of the film's time base."""
        picture = self._encodable(frame)
        self._last = frame.pts
        if self._container is None:
            self._begin = frame.pts
            self._start(picture, isinstance(frame.image, np.ndarray))
        picture.pts, picture.time_base = frame.pts - self._shift(), self.time_base
        picture.pict_type = 0  # the encoder decides, not what the frame was in the source
        self._mux(self._stream.encode(picture))

    def rehearse(self, frame: Frame) -> None:
        """Encode one frame, and the first of the sound, into a file that is not kept. Raises UserError where the encoder, the
        container or the disk refuse, which the work before the writing would only find at its end."""
        files.check_writable(self.path)
        try:
            with suppress(_Rehearsed), self:
                self.write(frame)
                self._mux(self._stream.encode())
                if self._waiting is not None:
                    self._mux_waiting()
                raise _Rehearsed
        except (av.error.FFmpegError, OSError) as error:
            raise UserError(
                f"{self.path} cannot be written with {self.codec} ({reason(error)}): choose another --codec or kind of file"
            ) from None

    def __exit__(self, kind: type | None, *details: Any) -> bool | None:
        try:
            if self._container is not None:
                if kind is None:
                    self._mux(self._stream.encode())
                    end = (self._last - self._shift()) * self.time_base + 1 / self.rate
                    while self._waiting is not None:
                        if self.part and self._waiting.dts * self._waiting.time_base >= end:
                            break
                        self._mux_waiting()
                self._container.close()
        except BaseException as error:
            self._cleanup.__exit__(type(error), error, error.__traceback__)
            raise
        return self._cleanup.__exit__(kind, *details)

    def _shift(self) -> int:
        return self._begin - self.like.origin if self.part else 0

    def _encodable(self, frame: Frame) -> av.VideoFrame:
        """The frame in the pixel format of the encoder that is nearest to its own."""
        picture = frame.image
        if isinstance(picture, np.ndarray):
            kind = {(2, 1): "gray", (2, 2): "gray16le", (3, 1): "rgb24", (3, 2): "rgb48le"}
            image = picture[..., :3] if picture.ndim == 3 else picture
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), kind[image.ndim, image.dtype.itemsize])
        name = picture.format.name
        formats = [known for known in self.formats if not known.startswith("yuvj")] or [name]
        if name.startswith("yuvj"):  # the old way to say full range, which the frame says as well
            name = name.replace("yuvj", "yuv")
            picture.color_range = FULL
        grey_for_players = name.startswith("gray") and self.codec not in LOSSLESS
        target = nearest_format(("yuv420p10le" if frame.bits > 8 else "yuv420p") if grey_for_players else name, formats)
        if (picture.width % 2 or picture.height % 2) and "420" in target:
            target = nearest_format(target.replace("420", "444"), formats)
        if target == picture.format.name:
            return picture
        if target.replace("yuv", "yuvj") == picture.format.name:
            return picture.reformat(format=target, src_color_range=FULL, dst_color_range=FULL)
        if isinstance(frame.image, np.ndarray) and not target.startswith(("rgb", "bgr", "gbr", "gray")):
            return picture.reformat(format=target, dst_colorspace=BT709, src_color_range=FULL, dst_color_range=LIMITED)
        return picture.reformat(format=target)

    def _start(self, picture: av.VideoFrame, from_array: bool) -> None:
        """Open the file, with the streams that the first picture and the source ask for."""
        suffix = self.path.suffix.lower()
        options = {"movflags": "+faststart"} if suffix in (".mp4", ".m4v", ".mov") else {}
        self._container = av.open(str(self.temporary), "w", format=CONTAINERS[suffix], options=options)
        self._container.flags |= av.container.Flags.bitexact.value  # no random identifiers: equal input, equal file
        kind = av.codec.Codec(self.codec, "w").canonical_name
        if not self._fits(kind) and not self._fits(self.codec):
            other = ".mov" if suffix == ".mkv" else ".mkv"
            raise UserError(
                f"{self.codec} does not fit into {self.path.name}: write a {other}, or choose another --codec"
            )
        settings = {
            "ffv1": {"level": "3"},
            "libvpx-vp9": {"crf": str(self.crf), "b": "0"},
            # With its macroblock tree, x264 now and then writes another stream for the same frames.
            "libx264": {"crf": str(self.crf), "x264-params": "mbtree=0"},
            "libx265": {"crf": str(self.crf), "x265-params": "log-level=none"},
        }
        options = settings.get(self.codec, {"crf": str(self.crf)} if self.codec in WITH_CRF else {})
        self._stream = stream = self._container.add_stream(self.codec, rate=self.rate, options=options)
        if kind == "hevc" and suffix in (".mp4", ".m4v", ".mov"):
            stream.codec_context.codec_tag = "hvc1"  # players of Apple's open no other
        stream.width, stream.height, stream.pix_fmt = picture.width, picture.height, picture.format.name
        stream.time_base = stream.codec_context.time_base = self.time_base
        context, unspecified = stream.codec_context, {"color_range": 0}
        tags = self.like.colour_tags if isinstance(self.like, VideoFile) else {}
        for tag in ("color_range", "colorspace", "color_primaries", "color_trc"):
            value = getattr(picture, tag)
            setattr(context, tag, tags.get(tag, value) if value == unspecified.get(tag, 2) else value)
        if isinstance(self.like, VideoFile):
            self._copy_description(stream, self.like)
        if from_array and not picture.format.is_rgb and not picture.format.name.startswith("gray"):
            context.color_primaries = context.color_trc = context.colorspace = BT709
            context.color_range = LIMITED
        if self.sound is not None:
            self._others = self._copied_packets(self.sound)
            self._waiting = next(self._others, None)

    def _fits(self, codec: str) -> bool:
        """Whether the container takes streams of a codec."""
        if self.path.suffix.lower() == ".ts":
            return codec in TRANSPORT_STREAM
        return codec in self._container.supported_codecs

    def _copy_description(self, stream: Any, film: VideoFile) -> None:
        """Aspect, rotation, titles and chapters of the source."""
        with film.open() as source:
            original = source.streams.video[0]
            if original.sample_aspect_ratio:
                stream.codec_context.sample_aspect_ratio = original.sample_aspect_ratio
            matrix = display_matrix(source)
            if matrix is not None:
                stream.set_display_matrix(matrix)
            stream.metadata.update(
                {key: original.metadata[key] for key in ("language", "title") if key in original.metadata}
            )
            keep = {key: value for key, value in source.metadata.items() if key not in _CONTAINERS_OWN}
            self._container.metadata.update(keep)
            if source.chapters() and not self.part:
                self._container.set_chapters(source.chapters())

    def _copied_packets(self, film: VideoFile) -> Iterator[Any]:
        """The packets of the sound and subtitle streams, in the order of the source, for the streams made for them."""
        source = film.open()
        self._cleanup.callback(source.close)
        copies = {}
        for stream in source.streams:
            if stream.type == "video":
                continue
            known = stream.type in ("audio", "subtitle")
            if known and self._fits(stream.codec_context.codec.canonical_name):
                copy = self._container.add_stream_from_template(stream)
                copy.metadata.update(stream.metadata)
                copy.disposition = stream.disposition
                copies[stream.index] = copy
            elif stream.type == "audio":
                name = stream.codec_context.name
                raise UserError(f"sound of the kind {name} does not fit into {self.path.name}: write a .mkv or .mov")
            else:
                log.warning(
                    "%s: stream %d (%s) is not copied into %s", self.like.path, stream.index, stream.type, self.path
                )
        return self._packets(source, copies)

    def _packets(self, source: av.container.InputContainer, copies: dict[int, av.stream.Stream]) -> Iterator[av.Packet]:
        if not copies:
            return
        begin, shift = self._begin * self.time_base, self._shift() * self.time_base
        try:
            for packet in source.demux([source.streams[index] for index in copies]):
                if packet.dts is None:
                    continue
                if self.part:
                    # What an encoder put before the beginning belongs to the beginning.
                    if self._begin > self.like.origin and packet.dts * packet.time_base < begin:
                        continue
                    ticks = round(shift / packet.time_base)
                    packet.dts -= ticks
                    packet.pts = None if packet.pts is None else packet.pts - ticks
                packet.stream = copies[packet.stream.index]
                yield packet
        except av.error.FFmpegError as error:
            log.warning("%s: sound ends early (%s)", self.like.path, reason(error))

    def _mux(self, packets: list[Any]) -> None:
        """Write packets of the picture, and before each the others that come earlier: players read them side by side."""
        for packet in packets:
            moment = packet.dts * packet.time_base
            while self._waiting is not None and self._waiting.dts * self._waiting.time_base <= moment:
                self._mux_waiting()
            self._container.mux_one(packet)

    def _mux_waiting(self) -> None:
        self._container.mux_one(self._waiting)
        self._waiting = next(self._others, None)
