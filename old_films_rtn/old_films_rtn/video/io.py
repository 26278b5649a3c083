"""Films in and out: video files through PyAV, folders of 8- and 16-bit frames through OpenCV.

A frame keeps what it was decoded to. Restoration reads its luma plane and writes it back; chroma, colour tags, time
stamps, aspect and bit depth are never touched, so whatever is left alone comes back bit for bit.
"""

from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from PIL import Image

from shared_utils import UserError, checkpoint

log = logging.getLogger(__name__)

IMAGE_SUFFIXES = (".png", ".tif", ".tiff", ".jpg", ".jpeg", ".bmp")
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
LOSSLESS = ("ffv1", "huffyuv", "ffvhuff")
# The luma of these lies alone in the first plane, in the low bits of little-endian words.
_LUMA_FIRST = re.compile(r"(yuvj?4\d\dp|yuva4\d\dp|gray)(\d+le)?|nv12|nv21|nv16")
_FULL, _LIMITED, _BT709 = 2, 1, 1  # FFmpeg's numbers of AVCOL_RANGE_JPEG, AVCOL_RANGE_MPEG, and of every BT.709 tag


@dataclass(frozen=True)
class Frame:
    """One picture of a film.

    index: position in the film, from 0. image: a video frame as decoded, or an array (h, w) or (h, w, 3 or 4) of uint8
    or uint16 in RGB(A) order. pts: time stamp in units of the film's ``time_base``. name: the file's name, in folders.
    """

    index: int
    image: av.VideoFrame | np.ndarray
    pts: int
    name: str | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.image.shape[:2] if isinstance(self.image, np.ndarray) else (self.image.height, self.image.width)

    @property
    def bits(self) -> int:
        """Bits of a luma sample."""
        if isinstance(self.image, np.ndarray):
            return 8 * self.image.dtype.itemsize
        return self.image.format.components[0].bits

    @property
    def grey(self) -> bool:
        """Whether the picture has no room for colour."""
        if isinstance(self.image, np.ndarray):
            return self.image.ndim == 2
        return self.image.format.name.startswith("gray")

    @property
    def black_white(self) -> tuple[int, int]:
        """The luma codes of black and white: 16 and 235 (times 2^(bits - 8)) for video in limited range."""
        full = (
            isinstance(self.image, np.ndarray)
            or self.image.color_range == _FULL
            or self.image.format.name.startswith(("yuvj", "gray"))
        )
        return (0, 2**self.bits - 1) if full else (16 << (self.bits - 8), 235 << (self.bits - 8))

    @property
    def luma(self) -> np.ndarray:
        """(h, w) uint8 or uint16: the luma codes; for colour images by the BT.601 weights, as Pillow's ``L``."""
        if not isinstance(self.image, np.ndarray):
            return _first_plane(self.image).copy()
        if self.image.ndim == 2:
            return self.image
        red, green, blue = np.moveaxis(self.image[..., :3].astype(np.uint64), -1, 0)
        return ((red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16).astype(self.image.dtype)

    def with_luma(self, luma: np.ndarray) -> Frame:
        """The frame with other luma codes and the same chroma (images in colour: the same difference on R, G, B)."""
        if not isinstance(self.image, np.ndarray):
            self.image.make_writable()  # the decoder may still refer to it
            _first_plane(self.image)[:] = luma
            return self
        if self.image.ndim == 2:
            return replace(self, image=luma)
        difference = luma.astype(np.int32) - self.luma.astype(np.int32)
        changed = self.image.copy()
        colour = self.image[..., :3].astype(np.int32) + difference[..., None]
        changed[..., :3] = colour.clip(0, np.iinfo(self.image.dtype).max)
        return replace(self, image=changed)

    def with_colour(self, rgb: np.ndarray) -> Frame:
        """The frame in the colours of ``rgb`` (h, w, 3), float in [0, 1]. Video keeps its luma plane bit for bit, and grey
        video becomes 4:2:0; images become RGB of their depth."""
        picture = self.image
        if isinstance(picture, np.ndarray):
            top = np.iinfo(picture.dtype).max
            return replace(self, image=np.rint(rgb * top).clip(0, top).astype(picture.dtype))
        deep = self.bits > 8
        codes = np.rint(rgb * (65535 if deep else 255)).astype(np.uint16 if deep else np.uint8)
        coloured = av.VideoFrame.from_ndarray(codes, "rgb48le" if deep else "rgb24")
        name = picture.format.name
        if name.startswith("gray"):
            name = f"yuv420p{name.removeprefix('gray')}"
        black, _ = self.black_white
        matrix = picture.colorspace if picture.colorspace in (_BT709, 5, 6) else 5  # 5: BT.601, what decoders assume
        coloured = coloured.reformat(
            format=name, dst_colorspace=matrix, dst_color_range=_LIMITED if black else _FULL, src_color_range=_FULL
        )
        _first_plane(coloured)[:] = _first_plane(picture)
        for tag in ("color_primaries", "color_trc", "pts", "time_base"):
            setattr(coloured, tag, getattr(picture, tag))
        coloured.colorspace, coloured.color_range = picture.colorspace, _LIMITED if black else _FULL
        return replace(self, image=coloured)

    def rgb(self, bits: int = 8) -> np.ndarray:
        """(h, w, 3) uint8, or uint16 with ``bits=16``."""
        if not isinstance(self.image, np.ndarray):
            return self.image.to_ndarray(format="rgb24" if bits == 8 else "rgb48le")
        image = self.image if self.image.ndim == 3 else np.repeat(self.image[..., None], 3, axis=2)
        image = image[..., :3]
        if image.dtype == np.uint8:
            return image if bits == 8 else image.astype(np.uint16) * 257
        return image if bits == 16 else ((image.astype(np.uint32) + 128) // 257).astype(np.uint8)


def to_unit(luma: np.ndarray, black_white: tuple[int, int]) -> np.ndarray:
    """Luma codes -> float32 with black at -1 and white at 1, clipped: what the network takes."""
    black, white = black_white
    return ((luma.astype(np.float32) - black) * (2.0 / (white - black)) - 1.0).clip(-1.0, 1.0)


def grey_at_short_side(rgb: np.ndarray, short_side: int = 368) -> np.ndarray:
    """(h', w') uint8 grey of an image (h, w, 3) uint8, its shorter side scaled to ``short_side`` and both sides floored
    to multiples of 16: how the published script makes every film smaller."""
    height, width = rgb.shape[:2]
    scale = short_side / min(height, width)
    size = [
        short_side // 16 * 16 if side == min(height, width) else int(side * scale) // 16 * 16
        for side in (width, height)
    ]
    return np.asarray(Image.fromarray(rgb).convert("L").resize(size, Image.Resampling.BILINEAR))


def _first_plane(frame: av.VideoFrame) -> np.ndarray:
    plane = frame.planes[0]
    kind = np.dtype(np.uint8 if frame.format.components[0].bits == 8 else "<u2")
    rows = np.frombuffer(plane, kind).reshape(-1, plane.line_size // kind.itemsize)
    return rows[: frame.height, : frame.width]


def natural_key(name: str) -> list:
    """Sorts ``2.png`` before ``10.png``."""
    return [int(part) if part.isdigit() else part.lower() for part in re.split(r"(\d+)", name)]


def open_film(path: str | Path) -> VideoFile | FrameFolder:
    """A video file, a folder of frames or a single image.

    Raises UserError for what is missing, empty or of no known kind.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(f"{path} not found: give a video file or a folder of frames")
    if path.is_dir() or path.suffix.lower() in IMAGE_SUFFIXES:
        return FrameFolder(path)
    if path.stat().st_size == 0:
        raise UserError(f"{path} is empty (0 bytes): copy or download it again")
    return VideoFile(path)


class FrameFolder:
    """A folder of frames in natural order of their names, or one image; other files in it are passed over."""

    time_base, rate, origin = Fraction(1, 24), Fraction(24), 0

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        candidates = [self.path] if self.path.is_file() else list(self.path.iterdir())
        self.files = sorted(
            (file for file in candidates if file.suffix.lower() in IMAGE_SUFFIXES and not file.name.startswith(".")),
            key=lambda file: natural_key(file.name),
        )
        if not self.files:
            raise UserError(f"{path} holds no frames: expected files such as 00001.png ({', '.join(IMAGE_SUFFIXES)})")
        self.damage: str | None = None

    def frames(self) -> Iterator[Frame]:
        """Every frame; raises UserError naming the file that cannot be read, or the first two of different sizes or depths."""
        first: Frame | None = None
        for index, file in enumerate(self.files):
            frame = Frame(index, read_image(file), index, file.name)
            first = first or frame
            if frame.size != first.size:
                height, width = frame.size
                raise UserError(
                    f"frames of different sizes: {first.name} is {first.size[1]}x{first.size[0]}, {file.name} is "
                    f"{width}x{height}; scale or crop them to one size"
                )
            if frame.bits != first.bits:
                raise UserError(
                    f"frames of different depths: {first.name} has {first.bits} bits, {file.name} {frame.bits}; convert them"
                )
            yield frame


def read_image(path: str | Path) -> np.ndarray:
    """(h, w) or (h, w, 3 or 4), RGB(A), uint8 or uint16. Raises UserError for a file that is no whole image."""
    path = Path(path)
    data = path.read_bytes()
    ends = {b"\x89PNG": b"IEND", b"\xff\xd8\xff": b"\xff\xd9"}
    cut = next((end not in data[-4096:] for start, end in ends.items() if data.startswith(start)), False)
    image = None
    if data and not cut:
        with _quiet_opencv(), suppress(cv2.error):
            image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None or image.dtype not in (np.uint8, np.uint16):
        reason = "is empty" if not data else "is truncated" if cut else "is not an 8- or 16-bit image"
        raise UserError(f"{path} {reason}: scan or copy this frame again, or remove it")
    if image.ndim == 2:
        return image
    return cv2.cvtColor(image, cv2.COLOR_BGRA2RGBA if image.shape[2] == 4 else cv2.COLOR_BGR2RGB)


def write_image(image: np.ndarray, path: str | Path) -> None:
    """Write (h, w) or (h, w, 3 or 4) RGB(A), uint8 or uint16, durably; PNG or TIFF by the suffix."""
    path = Path(path)
    with checkpoint.replacing(path) as temporary:
        temporary.write_bytes(encoded(image, path.suffix))


def encoded(image: np.ndarray, suffix: str = ".png") -> bytes:
    """The bytes of an image file, compressed lightly and without loss."""
    if image.ndim == 3:
        image = cv2.cvtColor(image, cv2.COLOR_RGBA2BGRA if image.shape[2] == 4 else cv2.COLOR_RGB2BGR)
    return cv2.imencode(suffix, image, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes()


@contextmanager
def _quiet_opencv() -> Iterator[None]:
    level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(level)


class VideoFile:
    """A video file: its frames, and what a copy of it has to keep.

    damage: after ``frames`` has run to its end, what was wrong with the file (None: nothing). origin: time stamp of the
    first frame, once it has been read.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.damage: str | None = None
        self.origin = 0
        with self._open() as container:
            if not container.streams.video:
                raise UserError(f"{path} has no picture in it: give a video file")
            stream = container.streams.video[0]
            self.time_base = stream.time_base
            self.rate = stream.average_rate or stream.guessed_rate or Fraction(25)
            context = stream.codec_context
            self.colour_tags = {
                tag: getattr(context, tag) for tag in ("color_range", "colorspace", "color_primaries", "color_trc")
            }
            # Other containers count packets, not pictures.
            self.announced = stream.frames if "mp4" in container.format.name else 0
            duration = stream.duration and float(stream.duration * stream.time_base)
            self.duration: float | None = duration or (container.duration and container.duration / av.time_base)

    def _open(self) -> av.container.InputContainer:
        try:
            return av.open(str(self.path))
        except av.error.FFmpegError as error:
            raise UserError(f"{self.path} is not a video that can be read ({_reason(error)}): copy it again") from error

    def frames(self) -> Iterator[Frame]:
        """Every frame that decodes, with time stamps that rise; of a truncated file those before the damage.

        Raises UserError when not even one frame decodes, or when the size of the picture changes.
        """
        count, size, last = 0, None, None
        step = max(1, round(1 / (self.rate * self.time_base)))
        self.damage = None
        with self._open() as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            try:
                for picture in container.decode(stream):
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
                self.damage = _reason(error)
        if count == 0:
            raise UserError(f"{self.path}: no frame decodes ({self.damage or 'it is cut short'}); copy it again")
        # A file cut short may also just end, before what its header announces.
        seconds = float(last * self.time_base)
        if self.damage is None and self.duration and seconds < self.duration - max(1.0, 0.05 * self.duration):
            self.damage = f"the picture ends at {seconds:.1f} of {self.duration:.1f} s"
        if self.damage is None and count < self.announced:
            self.damage = f"{self.announced - count} of {self.announced} frames are missing"


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or type(error).__name__


def _readable(picture: av.VideoFrame) -> av.VideoFrame | np.ndarray:
    """The picture with its luma alone in the first plane; RGB as an array."""
    name = picture.format.name
    if _LUMA_FIRST.fullmatch(name):
        return picture
    if picture.format.is_rgb or picture.format.has_palette:
        return picture.to_ndarray(format="rgb48le" if picture.format.components[0].bits > 8 else "rgb24")
    planar = [f"yuv4{sampling}p{bits}" for sampling in ("20", "22", "44") for bits in ("", "10le", "12le", "16le")]
    return picture.reformat(format=_nearest_format(name, [*planar, "gray", "gray16le"]))


def _nearest_format(name: str, candidates: list[str]) -> str:
    """The pixel format among ``candidates`` that loses least of ``name``."""
    return name if name in candidates else av.codec.codec.find_best_pix_fmt_of_list(candidates, name)[0].name


def open_output(
    path: str | Path, like: VideoFile | FrameFolder, *, overwrite: bool = False, **options: Any
) -> VideoWriter | FolderWriter:
    """A writer of the kind that the name asks for: a video by its suffix, else a folder of frames.

    options: of ``VideoWriter``. Raises UserError where something is there already, or lies inside the input.
    """
    path = Path(path)
    check_output(path, like, overwrite)
    return VideoWriter(path, like, **options) if path.suffix.lower() in CONTAINERS else FolderWriter(path, like)


def check_output(path: Path, like: VideoFile | FrameFolder, overwrite: bool) -> None:
    """Raise UserError unless ``path`` may be written: known kind, nothing there (or ``overwrite``), not in the input."""
    suffix = path.suffix.lower()
    if suffix and suffix not in CONTAINERS and not path.is_dir():
        raise UserError(f"{path}: no known kind of video; name it {', '.join(CONTAINERS)}, or a folder without suffix")
    source, target = like.path.resolve(), path.resolve()
    if target == source or (source.is_dir() and source in target.parents):
        raise UserError(f"the output {path} lies in the input {like.path}: write it somewhere else")
    if overwrite:
        return
    if path.is_file() or (path.is_dir() and any(path.iterdir())):
        raise UserError(f"{path} exists: name another output, or give --overwrite")


class FolderWriter:
    """Frames into a folder, under the names they had (JPEG and BMP become PNG); used as a context manager.

    The files are written beside the folder and moved into it at the end; what else is in the folder stays there.
    """

    def __init__(self, path: str | Path, like: VideoFile | FrameFolder) -> None:
        self.path = Path(path)
        self.temporary = self.path.with_name(f".{self.path.name}.tmp")
        names = [file.name for file in like.files] if isinstance(like, FrameFolder) else []
        names = [
            name if name.lower().endswith((".png", ".tif", ".tiff")) else f"{Path(name).stem}.png" for name in names
        ]
        self._names = names if len(set(names)) == len(names) else []

    def __enter__(self) -> FolderWriter:
        shutil.rmtree(self.temporary, ignore_errors=True)
        self.temporary.mkdir(parents=True)
        return self

    def write(self, frame: Frame) -> None:
        """Add a frame; video frames become grey or RGB images of at least their bit depth."""
        image = frame.image
        if not isinstance(image, np.ndarray):
            image = _grey(frame) if frame.grey else frame.rgb(8 if frame.bits == 8 else 16)
        name = self._names[frame.index] if self._names else f"{frame.index:06d}.png"
        (self.temporary / name).write_bytes(encoded(image, Path(name).suffix))

    def __exit__(self, kind: type | None, *_: object) -> None:
        if kind is None:
            self.path.mkdir(parents=True, exist_ok=True)
            for file in self.temporary.iterdir():
                file.replace(self.path / file.name)
        shutil.rmtree(self.temporary, ignore_errors=True)


def _grey(frame: Frame) -> np.ndarray:
    """The luma over the whole range of its type: 10 bits to 16, by repeating the high bits."""
    luma = frame.luma
    if frame.bits in (8, 16):
        return luma
    wide = luma.astype(np.uint32) << (16 - frame.bits)
    return (wide | (wide >> frame.bits)).astype(np.uint16)


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
        self.rate = Fraction(rate).limit_denominator(1001) if rate and isinstance(like, FrameFolder) else like.rate
        self.time_base = like.time_base if isinstance(like, VideoFile) else 1 / self.rate
        self.sound = sound and isinstance(like, VideoFile)
        self._cleanup = ExitStack()
        self._container: av.container.OutputContainer | None = None
        self._others: Iterator[av.Packet] = iter(())
        self._waiting: av.Packet | None = None

    def __enter__(self) -> VideoWriter:
        self.temporary = self._cleanup.enter_context(checkpoint.replacing(self.path))
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
            picture.color_range = _FULL
        grey_for_players = name.startswith("gray") and self.codec not in LOSSLESS
        target = _nearest_format(
            ("yuv420p10le" if frame.bits > 8 else "yuv420p") if grey_for_players else name, formats
        )
        if (picture.width % 2 or picture.height % 2) and "420" in target:
            target = _nearest_format(target.replace("420", "444"), formats)
        if target == picture.format.name:
            return picture
        if target.replace("yuv", "yuvj") == picture.format.name:
            return picture.reformat(format=target, src_color_range=_FULL, dst_color_range=_FULL)
        if isinstance(frame.image, np.ndarray) and not target.startswith(("rgb", "bgr", "gbr", "gray")):
            return picture.reformat(
                format=target, dst_colorspace=_BT709, src_color_range=_FULL, dst_color_range=_LIMITED
            )
        return picture.reformat(format=target)

    def _start(self, picture: av.VideoFrame, from_array: bool) -> None:
        """Open the file, with the streams that the first picture and the source ask for."""
        suffix = self.path.suffix.lower()
        options = {"movflags": "+faststart"} if suffix in (".mp4", ".m4v", ".mov") else {}
        self._container = av.open(str(self.temporary), "w", format=CONTAINERS[suffix], options=options)
        self._container.flags |= av.container.Flags.bitexact.value  # no random identifiers: equal input, equal file
        if self.codec not in self._container.supported_codecs and av.codec.Codec(
            self.codec, "w"
        ).canonical_name not in (self._container.supported_codecs):
            raise UserError(f"{self.codec} does not fit into {self.path.name}: write a .mkv, or choose another --codec")
        settings = {
            "ffv1": {"level": "3"},
            "libvpx-vp9": {"crf": str(self.crf), "b": "0"},
            "prores_ks": {},
            # With its macroblock tree, x264 now and then writes another stream for the same frames.
            "libx264": {"crf": str(self.crf), "x264-params": "mbtree=0"},
        }
        options = settings.get(self.codec, {"crf": str(self.crf)})
        self._stream = stream = self._container.add_stream(self.codec, rate=self.rate, options=options)
        stream.width, stream.height, stream.pix_fmt = picture.width, picture.height, picture.format.name
        stream.time_base = stream.codec_context.time_base = self.time_base
        context, unspecified = stream.codec_context, {"color_range": 0}
        tags = self.like.colour_tags if isinstance(self.like, VideoFile) else {}
        for tag in ("color_range", "colorspace", "color_primaries", "color_trc"):
            value = getattr(picture, tag)
            setattr(context, tag, tags.get(tag, value) if value == unspecified.get(tag, 2) else value)
        if isinstance(self.like, VideoFile):
            self._copy_description(stream)
        if from_array and not picture.format.is_rgb and not picture.format.name.startswith("gray"):
            context.color_primaries = context.color_trc = context.colorspace = _BT709
            context.color_range = _LIMITED
        if self.sound:
            self._others = self._copied_packets()
            self._waiting = next(self._others, None)

    def _copy_description(self, stream: av.VideoStream) -> None:
        """Aspect, rotation, titles and chapters of the source."""
        with self.like._open() as source:
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

    def _copied_packets(self) -> Iterator[av.Packet]:
        """The packets of the sound and subtitle streams, in the order of the source, for the streams made for them."""
        source = self.like._open()
        self._cleanup.callback(source.close)
        copies = {}
        for stream in source.streams:
            if stream.type == "video":
                continue
            known = stream.type in ("audio", "subtitle")
            if known and stream.codec_context.codec.canonical_name in self._container.supported_codecs:
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
            log.warning("%s: sound ends early (%s)", self.like.path, _reason(error))

    def _mux(self, packets: list[av.Packet]) -> None:
        """Write packets of the picture, and before each the others that come earlier: players read them side by side."""
        for packet in packets:
            moment = packet.dts * packet.time_base
            while self._waiting is not None and self._waiting.dts * self._waiting.time_base <= moment:
                self._mux_waiting()
            self._container.mux_one(packet)

    def _mux_waiting(self) -> None:
        self._container.mux_one(self._waiting)
        self._waiting = next(self._others, None)


_CONTAINERS_OWN = {"major_brand", "minor_version", "compatible_brands", "encoder"}


def display_matrix(source: av.container.InputContainer) -> list[int] | None:
    """The rotation of the picture as FFmpeg's 9 integers; None where there is none."""
    kind = av.sidedata.sidedata.Type.DISPLAYMATRIX
    for picture in source.decode(video=0):
        found = next((data for data in picture.side_data if data.type == kind), None)
        return None if found is None else np.frombuffer(bytes(found), "<i4").tolist()
    return None
