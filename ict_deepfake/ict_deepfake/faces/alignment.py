"""From the five points of a face to the crop that the network sees, as the published code does it, and faster.

The similarity transform (four degrees of freedom, least squares, no reflection) takes a template in a crop of 317 pixels
to the points; the picture is sampled there bilinearly, black outside. The face fills about the middle 40 % of the crop, so
that hair, ears and neck are in it. Needs no torch unless ``network_input`` is called.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from ict_deepfake.faces.found import check_picture

if TYPE_CHECKING:
    import torch

Points = tuple[tuple[float, float], ...]
TEMPLATE: Points = (
    (115.82991, 145.7792),
    (199.0532, 144.3381),
    (157.574, 197.0006),
    (120.6964, 234.7014),
    (197.3069, 233.3733),
)
LONGEST, SMALLEST = 1268, 317


@dataclass(frozen=True)
class Alignment:
    """Where a face lies in a crop. It belongs to the weights that were trained with it and is stored with them.

    Args:
        crop: side of the square crop in pixels.
        template: the five points in the crop: eye, eye, nose tip, mouth corner, mouth corner; x y.
    """

    crop: int = 317
    template: Points = TEMPLATE

    def __post_init__(self) -> None:
        if self.crop < 8 or np.shape(self.template) != (5, 2):
            raise ValueError(f"an alignment has a crop of 8 pixels or more and five points, got {self}")

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for a checkpoint or JSON."""
        return {"crop": self.crop, "template": [list(point) for point in self.template]}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Alignment:
        """The inverse of ``as_dict``."""
        return cls(int(values["crop"]), tuple((float(x), float(y)) for x, y in values["template"]))

    def scaled(self, crop: int) -> Alignment:
        """The same framing in a crop of another size (pixel centres: the outer edges coincide)."""
        factor = crop / self.crop
        return Alignment(crop, tuple(((x + 0.5) * factor - 0.5, (y + 0.5) * factor - 0.5) for x, y in self.template))


def similarity(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The similarity transform that takes points to points best in the least squares sense, without reflection.

    Args:
        source, target: (..., n, 2); leading dimensions are batches.

    Returns:
        (..., 2, 3) float64: ``target ~ source @ m[:, :2].T + m[:, 2]``.
    """
    source, target = np.asarray(source, np.float64), np.asarray(target, np.float64)
    from_mean, to_mean = source.mean(axis=-2, keepdims=True), target.mean(axis=-2, keepdims=True)
    x, y = np.moveaxis(source - from_mean, -1, 0)
    u, v = np.moveaxis(target - to_mean, -1, 0)
    spread = np.maximum((x * x + y * y).sum(axis=-1), 1e-12)
    a = (x * u + y * v).sum(axis=-1) / spread  # scale * cos
    b = (x * v - y * u).sum(axis=-1) / spread  # scale * sin
    linear = np.stack([np.stack([a, -b], -1), np.stack([b, a], -1)], -2)
    shift = to_mean[..., 0, :] - (linear @ from_mean[..., 0, :, None])[..., 0]
    return np.concatenate([linear, shift[..., None]], axis=-1)


def transform(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Points (..., n, 2) moved by a matrix (2, 3)."""
    return np.asarray(points, np.float64) @ matrix[:, :2].T + matrix[:, 2]


def to_crop(points: np.ndarray, alignment: Alignment | None = None) -> np.ndarray:
    """The matrix (2, 3) that takes places of the picture to places of the crop.

    Args:
        points: (5, 2), the face in the picture.
        alignment: how faces lie in crops; the published way where None.
    """
    # The published code fits the other direction, template to points: the inverse of that fit, not another fit.
    return cv2.invertAffineTransform(_to_picture(points, alignment or Alignment()))


def align(image: np.ndarray, points: np.ndarray, alignment: Alignment | None = None, exact: bool = False) -> np.ndarray:
    """Cut a face out, upright and at the size of the crop.

    Args:
        image: uint8 RGB (h, w, 3).
        points: (5, 2), x y in pixels.
        alignment: how the face shall lie; the published way where None.
        exact: sample in double precision and cut off the fractions, as the published code does: up to a grey level of
            its result, twenty times slower. Otherwise OpenCV samples, and faces that are much larger than the crop are
            shrunk without aliasing first.

    Returns:
        uint8 RGB (crop, crop, 3), black where the crop reaches beyond the picture.
    """
    alignment = alignment or Alignment()
    matrix = _to_picture(points, alignment)
    if exact:
        return _sample_exactly(check_picture(image), matrix, alignment.crop)
    image, matrix = _needed(check_picture(image), matrix, alignment.crop)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(image, matrix, (alignment.crop, alignment.crop), flags=flags, borderValue=(0, 0, 0))


def visible(shape: Sequence[int], points: np.ndarray, alignment: Alignment | None = None) -> float:
    """The share of the crop that lies inside the picture: what is black in it shows no outer face.

    Args:
        shape: (height, width, ...) of the picture.
        points: (5, 2).
        alignment: as of ``align``.
    """
    alignment = alignment or Alignment()
    side = alignment.crop
    corners = np.array([[-0.5, -0.5], [side - 0.5, -0.5], [side - 0.5, side - 0.5], [-0.5, side - 0.5]])
    crop = transform(corners, _to_picture(points, alignment)).astype(np.float32)
    height, width = shape[:2]
    frame = np.array([[-0.5, -0.5], [width - 0.5, -0.5], [width - 0.5, height - 0.5], [-0.5, height - 0.5]], np.float32)
    return float(np.clip(cv2.intersectConvexConvex(frame, crop)[0] / cv2.contourArea(crop), 0, 1))


def network_input(crops: np.ndarray | Sequence[np.ndarray], size: int = 112) -> torch.Tensor:
    """What the network reads: whole crops, resized with antialiasing as Pillow does, RGB in -1..1.

    Args:
        crops: uint8 RGB (h, w, 3), or several.
        size: side of the network's input.

    Returns:
        float32 (n, 3, size, size): (v / 255 - 0.5) / 0.5.
    """
    import torch

    several = [crops] if isinstance(crops, np.ndarray) and crops.ndim == 3 else list(crops)
    if not several:
        return torch.zeros(0, 3, size, size)
    small = torch.from_numpy(np.stack([resized(check_picture(crop), size) for crop in several]))
    return small.permute(0, 3, 1, 2).to(torch.float32).div_(127.5).sub_(1.0)


def resized(crop: np.ndarray, size: int) -> np.ndarray:
    """A crop as uint8 RGB (size, size, 3), antialiased."""
    from PIL import Image

    if crop.shape[:2] == (size, size):
        return crop
    return np.asarray(Image.fromarray(crop).resize((size, size), Image.Resampling.BILINEAR))


def published_size(height: int, width: int) -> tuple[int, int]:
    """The size to which the published code brings a frame before it looks for faces: (height, width).

    A side above 1268 brings the longest one to 1268; a picture with both sides below 317 is doubled; fractions are cut.
    """
    if max(height, width) > LONGEST:
        factor = LONGEST / max(height, width)
        return int(height * factor), int(width * factor)
    if height < SMALLEST and width < SMALLEST:
        return 2 * height, 2 * width
    return height, width


def _to_picture(points: np.ndarray, alignment: Alignment) -> np.ndarray:
    points = np.asarray(points, np.float64)
    if points.shape != (5, 2) or not np.isfinite(points).all():
        raise ValueError(f"a face is aligned by five finite points (5, 2), got {points.shape}")
    return similarity(np.array(alignment.template), points)


def _sample_exactly(image: np.ndarray, matrix: np.ndarray, side: int) -> np.ndarray:
    grid = np.stack(np.meshgrid(np.arange(side), np.arange(side)), axis=-1).reshape(-1, 2)
    x, y = transform(grid, matrix).T
    left, top = np.floor(x).astype(np.int64), np.floor(y).astype(np.int64)
    right, low = (x - left)[:, None], (y - top)[:, None]
    height, width = image.shape[:2]

    def corner(column: np.ndarray, row: np.ndarray) -> np.ndarray:
        inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
        values = image[np.clip(row, 0, height - 1), np.clip(column, 0, width - 1)] / 255.0
        return np.where(inside[:, None], values, 0.0)

    above = (1 - right) * corner(left, top) + right * corner(left + 1, top)
    below = (1 - right) * corner(left, top + 1) + right * corner(left + 1, top + 1)
    # A value that is whole up to rounding stays that value, whichever way the last bit fell.
    sampled = np.floor(((1 - low) * above + low * below) * 255.0 + 1e-6)
    return sampled.astype(np.uint8).reshape(side, side, 3)


def _needed(image: np.ndarray, matrix: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """The part of the picture that the crop touches, shrunk where it is more than twice as large as the crop."""
    corners = transform(np.array([[0, 0], [side, 0], [0, side], [side, side]]), matrix)
    height, width = image.shape[:2]
    x0, y0 = (int(value) for value in np.clip(np.floor(corners.min(axis=0)) - 2, 0, [width - 1, height - 1]))
    x1, y1 = (int(value) for value in np.clip(np.ceil(corners.max(axis=0)) + 3, [x0 + 1, y0 + 1], [width, height]))
    image, matrix = image[y0:y1, x0:x1], matrix - [[0, 0, x0], [0, 0, y0]]
    shrink = int(np.hypot(*matrix[:, 0]))
    if shrink < 2:
        return image, matrix
    # Whole blocks of pixels only; the rest of a side is repeated, so that the scale is the same on both.
    image = cv2.copyMakeBorder(image, 0, -image.shape[0] % shrink, 0, -image.shape[1] % shrink, cv2.BORDER_REPLICATE)
    small = cv2.resize(image, (image.shape[1] // shrink, image.shape[0] // shrink), interpolation=cv2.INTER_AREA)
    moved = matrix / shrink
    moved[:, 2] = (matrix[:, 2] + 0.5) / shrink - 0.5
    return small, moved
