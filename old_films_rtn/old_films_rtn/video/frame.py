"""One picture of a film, as it was decoded.

A frame keeps what it was decoded to. Restoration reads its luma plane and writes it back; chroma, colour tags, time
stamps, aspect and bit depth are never touched, so whatever is left alone comes back bit for bit.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import av
import numpy as np
from PIL import Image

FULL, LIMITED, BT709 = 2, 1, 1  # FFmpeg's numbers of AVCOL_RANGE_JPEG, AVCOL_RANGE_MPEG, and of every BT.709 tag


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
            or self.image.color_range == FULL
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
        codes: Any = np.rint(rgb * (65535 if deep else 255)).astype(np.uint16 if deep else np.uint8)
        coloured = av.VideoFrame.from_ndarray(codes, "rgb48le" if deep else "rgb24")
        name = picture.format.name
        if name.startswith("gray"):
            name = f"yuv420p{name.removeprefix('gray')}"
        black, _ = self.black_white
        matrix = picture.colorspace if picture.colorspace in (BT709, 5, 6) else 5  # 5: BT.601, what decoders assume
        coloured = coloured.reformat(
            format=name, dst_colorspace=matrix, dst_color_range=LIMITED if black else FULL, src_color_range=FULL
        )
        _first_plane(coloured)[:] = _first_plane(picture)
        for tag in ("color_primaries", "color_trc", "pts", "time_base"):
            setattr(coloured, tag, getattr(picture, tag))
        coloured.colorspace, coloured.color_range = picture.colorspace, LIMITED if black else FULL
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
    plane: Any = frame.planes[0]
    kind = np.dtype(np.uint8 if frame.format.components[0].bits == 8 else "<u2")
    rows = np.frombuffer(plane, kind).reshape(-1, plane.line_size // kind.itemsize)
    return rows[: frame.height, : frame.width]
