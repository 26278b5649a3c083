"""Frames in: video files, cameras, network streams, folders of images. Annotated video out. All of it by PyAV and OpenCV.

Nothing is read ahead, so that the length of a video does not matter.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

from mot_occlusion.io.mot_format import read_seqinfo
from shared_utils import UserError, checkpoint

log = logging.getLogger(__name__)

IMAGES = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"}
_NETWORK = re.compile(r"^(rtsp|rtsps|rtmp|http|https|tcp|udp|srt|rtp)://", re.IGNORECASE)
Frames = Iterator[np.ndarray | None]


@dataclass
class Source:
    """Where frames come from.

    size: (height, width); length: number of frames where it is known; live: a camera or stream, which cannot be read
    twice. ``frames()`` yields RGB uint8 (H, W, 3), or None for a frame that cannot be read.
    """

    name: str
    size: tuple[int, int]
    frame_rate: float
    length: int | None
    live: bool
    frames: Callable[[], Frames]


def open_source(source: str | Path, frame_rate: float | None = None, reconnect: int = 5, pause: float = 1.0) -> Source:
    """A video file, a folder of images, a sequence of MOTChallenge, the number of a camera, or an address (rtsp://...).

    frame_rate: that of a folder of images without ``seqinfo.ini`` (25 where not given); of anything else, instead of
        what it says itself. reconnect: how often in a row a camera or stream that stops is opened again, after ``pause``
        seconds that double every time, before it counts as ended.
    Raises UserError naming the source and the fix.
    """
    text = str(source)
    if text.isdigit() or _NETWORK.match(text):
        return _live(text, frame_rate, reconnect, pause)
    path = Path(source)
    if path.is_dir():
        return _folder(path, frame_rate)
    if not path.is_file():
        raise UserError(
            f"{path} not found: give a video, a folder of images, a camera's number or an address (rtsp://...)"
        )
    return _file(path, frame_rate)


def natural_order(path: Path) -> list:
    """Sorts frame2.jpg before frame10.jpg."""
    return [int(part) if part.isdigit() else part.lower() for part in re.split(r"(\d+)", path.name)]


def _folder(folder: Path, frame_rate: float | None) -> Source:
    name, images, length = folder.name, folder, None
    if (folder / "seqinfo.ini").is_file():
        info = read_seqinfo(folder)
        name, images, length = info.name, folder / info.im_dir, info.length
        frame_rate = frame_rate or info.frame_rate
    elif (folder / "img1").is_dir():
        images = folder / "img1"
    paths = sorted((path for path in images.glob("*") if path.suffix.lower() in IMAGES), key=natural_order)
    if not paths:
        raise UserError(f"no images in {images}: give a folder of {', '.join(sorted(IMAGES))} files, or a video")
    if length is not None and length != len(paths):
        raise UserError(
            f"{folder / 'seqinfo.ini'} says {length} frames, but {images} has {len(paths)} images: mend seqLength or the folder"
        )
    first = next((image for image in map(_read_image, paths) if image is not None), None)
    if first is None:
        raise UserError(f"none of the {len(paths)} images in {images} can be read: copy them again")

    def frames() -> Frames:
        for path in paths:
            image = _read_image(path)
            if image is None:
                log.warning("%s cannot be read: passed over", path)
            yield image

    return Source(name, first.shape[:2], frame_rate or 25.0, len(paths), False, frames)


def _read_image(path: Path) -> np.ndarray | None:
    import cv2

    image = cv2.imdecode(np.frombuffer(path.read_bytes() or b"\0", np.uint8), cv2.IMREAD_COLOR)
    return None if image is None else cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def _file(path: Path, frame_rate: float | None) -> Source:
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            rate = float(stream.average_rate or stream.guessed_rate or 25)
            size, length = (stream.height, stream.width), stream.frames or None
    except (av.error.FFmpegError, IndexError) as error:
        reason = "it has no video stream" if isinstance(error, IndexError) else error.strerror
        raise UserError(f"{path} cannot be read as a video ({reason}): copy or encode it again") from None

    def frames() -> Frames:
        with av.open(str(path)) as container:
            yield from _decoded(container)

    return Source(path.stem, size, frame_rate or rate, length, False, frames)


def _decoded(container: av.container.InputContainer) -> Frames:
    """The frames of a container; None in place of a packet that cannot be decoded."""
    stream = container.streams.video[0]
    stream.thread_type = "AUTO"
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except av.error.InvalidDataError as error:
            log.warning("the video cannot be read on (%s): it ends here", error.strerror)
            return
        if packet is None:
            return
        try:
            decoded = packet.decode()
        except av.error.InvalidDataError:
            yield None
            continue
        for frame in decoded:
            yield frame.to_ndarray(format="rgb24")


def _live(address: str, frame_rate: float | None, reconnect: int, pause: float) -> Source:
    connect = _camera if address.isdigit() else _stream
    first, rate, rest = connect(address)

    def frames() -> Frames:
        image, images = first, rest
        while True:
            yield image
            image = _next(images)
            wait = pause
            for attempt in range(1, reconnect + 1):
                if image is not None:
                    break
                log.warning("%s stopped: connecting again (%d of %d)", address, attempt, reconnect)
                time.sleep(wait)
                wait *= 2
                try:
                    image, _, images = connect(address)
                except UserError:
                    continue
            if image is None:
                log.warning("%s does not come back: ended here", address)
                return

    name = f"camera{address}" if address.isdigit() else re.sub(r"\W+", "_", address.split("://")[1].split("@")[-1])
    return Source(name, first.shape[:2], frame_rate or rate, None, True, frames)


def _next(images: Frames) -> np.ndarray | None:
    """The next readable frame of a stream; None where it has stopped."""
    try:
        return next((image for image in images if image is not None), None)
    except (av.error.FFmpegError, OSError):
        return None


def _stream(address: str) -> tuple[np.ndarray, float, Frames]:
    options = {"rtsp_transport": "tcp"} if address.lower().startswith("rtsp") else {}
    hidden = re.sub(r"//[^/@]*@", "//", address)  # an address may carry a password
    try:
        container = av.open(address, options=options, timeout=(10.0, 10.0))
        rate = float(container.streams.video[0].average_rate or 25)
    except (av.error.FFmpegError, OSError, IndexError) as error:
        reason = getattr(error, "strerror", None) or "no video stream"
        raise UserError(f"{hidden} cannot be opened ({reason}): check the address and that it is sending") from None
    images = _decoded(container)
    first = _next(images)
    if first is None:
        raise UserError(f"{hidden} sends no frame that can be decoded: check what it sends")
    return first, rate, images


def _camera(number: str) -> tuple[np.ndarray, float, Frames]:
    import cv2

    camera = cv2.VideoCapture(int(number))

    def images() -> Frames:
        while True:
            good, image = camera.read()
            if not good:
                camera.release()
                return
            yield cv2.cvtColor(image, cv2.COLOR_BGR2RGB)

    taken = images()
    first = next(taken, None) if camera.isOpened() else None
    if first is None:
        raise UserError(f"camera {number} cannot be opened: check that it is there and that nothing else uses it")
    return first, float(camera.get(cv2.CAP_PROP_FPS) or 25), taken


class VideoWriter:
    """Writes RGB frames (H, W, 3) as H.264 in MP4, under a temporary name that becomes ``path`` when it is closed.

    The file is written in fragments: what a killed process leaves under the temporary name plays up to there.
    """

    def __init__(self, path: str | Path, size: tuple[int, int], frame_rate: float) -> None:
        from fractions import Fraction

        self._replacing = checkpoint.replacing(path)
        temporary = self._replacing.__enter__()
        # A fragment a second, on its way to the disk at once.
        fragments = {"movflags": "frag_keyframe+empty_moov+default_base_moof", "flush_packets": "1"}
        self._container = av.open(str(temporary), "w", format="mp4", options=fragments)
        codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
        options = {"g": str(max(1, round(frame_rate)))}
        if codec == "libx264":
            options |= {"crf": "23", "preset": "veryfast", "tune": "zerolatency"}
        self._stream = self._container.add_stream(codec, Fraction(frame_rate).limit_denominator(1001), options=options)
        # Both codecs want even sides.
        self._height, self._width = (side - side % 2 for side in size)
        self._stream.height, self._stream.width = self._height, self._width
        self._stream.pix_fmt = "yuv420p"

    def write(self, image: np.ndarray) -> None:
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image[: self._height, : self._width]), format="rgb24")
        self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        """Finish the file and give it its name."""
        self._container.mux(self._stream.encode())
        self._container.close()
        self._replacing.__exit__(None, None, None)
