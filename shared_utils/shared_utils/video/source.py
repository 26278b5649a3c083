"""Where frames come from: video files, folders of images, cameras, network streams. Nothing is read ahead."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import av
import numpy as np

from shared_utils import UserError
from shared_utils.video import decoding, live

log = logging.getLogger(__name__)
IMAGES = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"}


@dataclass(frozen=True, eq=False)
class Frame:
    """A frame of a source.

    index: counted from 0 at the first frame that is asked for (``start``), frames without picture included.
    time: seconds since the start of the source. image: RGB uint8 (H, W, 3); None where it cannot be decoded.
    """

    index: int
    time: float
    image: np.ndarray | None


@dataclass
class Source:
    """An opened source of frames.

    size: (height, width) of the upright picture. frame_rate: frames per second, an average where it varies. length: the
    number of frames where the file says it. live: a camera or stream, which cannot be read twice. rotation: the clockwise
    turn in degrees that makes the stored picture upright, already applied. unreadable: how many of the frames handed out
    by the last ``frames()`` cannot be decoded.
    """

    name: str
    size: tuple[int, int]
    frame_rate: float
    length: int | None
    live: bool
    rotation: int
    read: Callable[[], Iterator[tuple[float | None, np.ndarray | None]]] = field(repr=False)
    start: float = 0.0
    stop: float | None = None
    unreadable: int = 0

    def frames(self) -> Iterator[Frame]:
        """Decode the frames one by one; their number does not matter to the memory that it takes.

        Raises:
            UserError: the source cannot be read any more.
        """
        self.unreadable, index, time = 0, 0, -1 / self.frame_rate
        try:
            for stamp, image in self.read():
                time = time + 1 / self.frame_rate if stamp is None else stamp
                if time < self.start - decoding.MARGIN:
                    continue
                if self.stop is not None and time >= self.stop - decoding.MARGIN:
                    return
                if image is None:
                    self.unreadable += 1
                    if self.unreadable == 1:
                        log.warning("%s: frame %d (%.2f s) cannot be decoded", self.name, index, time)
                yield Frame(index, time, image)
                index += 1
        finally:
            if self.unreadable > 1:
                log.warning("%s: %d of %d frames cannot be decoded", self.name, self.unreadable, index)


def open_source(
    source: str | Path,
    frame_rate: float | None = None,
    reconnect: int = 5,
    pause: float = 1.0,
    start: float = 0.0,
    stop: float | None = None,
) -> Source:
    """Open a video file, a folder of images, the number of a camera, or an address (rtsp://...).

    Args:
        source: what to read.
        frame_rate: that of a folder of images (25 where not given); of anything else, instead of what it says itself,
            and then the times are those of this rate.
        reconnect: how often in a row a camera or stream that stops is opened again before it counts as ended.
        pause: seconds before it is opened again; they double every time.
        start: seconds; where to begin. A file is not decoded from its beginning for it.
        stop: seconds; the first frame that is left out.

    Raises:
        UserError: there is nothing that can be read; the message names the source and the fix.
    """
    if frame_rate is not None and not frame_rate > 0:
        raise UserError(f"a frame rate of {frame_rate:g} is not possible: give one above 0")
    if start < 0 or (stop is not None and stop <= start):
        raise UserError(f"from second {start:g} to {stop} there is nothing: give 0 <= start < stop")
    text = str(source)
    if text.isdecimal() or live.NETWORK.match(text):
        opened = _live(text, frame_rate, reconnect, pause)
    elif Path(source).is_dir():
        opened = _folder(Path(source), frame_rate or 25.0)
    elif Path(source).is_file():
        opened = _file(Path(source), frame_rate, start)
    else:
        raise UserError(
            f"{source} not found: give a video, a folder of images, a camera's number or an address (rtsp://...)"
        )
    opened.start, opened.stop = start, stop
    if start or stop is not None:
        opened.length = None
    return opened


def natural_order(path: Path) -> list:
    """A sorting key that puts frame2.jpg before frame10.jpg."""
    return [int(part) if part.isdecimal() else part.lower() for part in re.split(r"(\d+)", path.name)]


def _folder(folder: Path, frame_rate: float) -> Source:
    paths = sorted((path for path in folder.glob("*") if path.suffix.lower() in IMAGES), key=natural_order)
    if not paths:
        raise UserError(f"no images in {folder}: give a folder of {', '.join(sorted(IMAGES))} files, or a video")
    first = next((image for image in map(_read_image, paths) if image is not None), None)
    if first is None:
        raise UserError(f"none of the {len(paths)} images in {folder} can be read: copy them again")

    def read() -> Iterator[tuple[float | None, np.ndarray | None]]:
        for number, path in enumerate(paths):
            image = _read_image(path)
            if image is None:
                log.warning("%s cannot be read: skipped", path)
            yield number / frame_rate, image

    return Source(folder.name, first.shape[:2], frame_rate, len(paths), False, 0, read)


def _read_image(path: Path) -> np.ndarray | None:
    """By Pillow: FFmpeg enlarges the colours of a JPEG more coarsely than every other reader."""
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as image:
            image = ImageOps.exif_transpose(image)
            if image.mode.startswith("I;16"):
                grey = (np.asarray(image) >> 8).astype(np.uint8)
                return np.repeat(grey[..., None], 3, axis=2)
            return np.array(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None


def _file(path: Path, frame_rate: float | None, start: float) -> Source:
    with decoding.open_file(str(path)) as container:
        stream = decoding.video_stream(container, str(path))
        rate = float(stream.average_rate or stream.guessed_rate or 25)
        length = stream.frames or None
    readable = (picture.frame for picture in decoding.pictures(str(path)) if picture.frame is not None)
    first = next(readable, None)
    readable.close()
    if first is None:
        raise UserError(f"{path}: none of its frames can be decoded: copy or encode it again")
    matrix = decoding.display_matrix(first)
    shape = first.width, first.height

    def read() -> Iterator[tuple[float | None, np.ndarray | None]]:
        # Times of another rate cannot be found by seeking.
        for picture in decoding.pictures(str(path), 0.0 if frame_rate else start):
            yield None if frame_rate else picture.time, to_image(picture.frame, shape, matrix)

    size = (shape[0], shape[1]) if matrix[0] == 0 else (shape[1], shape[0])
    return Source(path.stem, size, frame_rate or rate, length, False, decoding.rotation(matrix), read)


def to_image(
    frame: av.VideoFrame | None, shape: tuple[int, int], matrix: tuple[int, int, int, int]
) -> np.ndarray | None:
    """RGB, upright; a frame of another (width, height) than the first one's is brought to it."""
    if frame is None:
        return None
    if (frame.width, frame.height) != shape:
        frame = frame.reformat(width=shape[0], height=shape[1])
    return decoding.upright(frame.to_ndarray(format="rgb24"), matrix)


def _live(address: str, frame_rate: float | None, reconnect: int, pause: float) -> Source:
    stream = live.Stream(address, frame_rate, reconnect, pause)
    matrix = decoding.display_matrix(stream.first)
    shape = stream.first.width, stream.first.height

    def read() -> Iterator[tuple[float | None, np.ndarray | None]]:
        for picture in stream.pictures():
            yield picture.time, to_image(picture.frame, shape, matrix)

    size = (shape[0], shape[1]) if matrix[0] == 0 else (shape[1], shape[0])
    return Source(stream.name, size, stream.frame_rate, None, True, decoding.rotation(matrix), read)
