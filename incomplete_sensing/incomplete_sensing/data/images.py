"""Sources of images: in memory, or read from files as they are asked for."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from shared_utils import UserError

log = logging.getLogger(__name__)
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")


class ImageSource(Protocol):
    """Images by number."""

    @property
    def shape(self) -> tuple[int, int, int]: ...  # pragma: no cover

    @property
    def in_memory(self) -> bool: ...  # pragma: no cover

    def __len__(self) -> int: ...  # pragma: no cover

    def batch(self, numbers: Sequence[int] | Tensor, skip_corrupt: bool = False) -> tuple[Tensor, Tensor]:
        """(images (B, C, H, W) float32, positions in ``numbers`` that could be read)."""
        ...  # pragma: no cover


def _sizes(shape: Sequence[int]) -> tuple[int, int, int]:
    channels, height, width = shape
    return channels, height, width


class TensorImages:
    """Images in memory: (N, C, H, W), float, or uint8 that ``scale`` divides."""

    in_memory = True

    def __init__(self, images: Tensor, scale: float = 1.0) -> None:
        self.images, self.scale = images, scale
        self.shape = _sizes(images.shape[1:])

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, numbers: Sequence[int] | Tensor, skip_corrupt: bool = False) -> tuple[Tensor, Tensor]:
        numbers = torch.as_tensor(numbers)
        return self.images[numbers].to(torch.float32) / self.scale, torch.arange(len(numbers))


class FileImages:
    """Image files, centre-cropped to ``crop`` (height, width), halved by area averaging where ``halve``, over 255.

    A file that cannot be read, or is too small, raises UserError; in training (``skip_corrupt``) it is named, counted in
    ``corrupt`` and left out.
    """

    in_memory = False

    def __init__(
        self, paths: Sequence[Path], crop: tuple[int, int] | None = None, halve: bool = False, grey: bool = False
    ) -> None:
        if not paths:
            raise UserError("a source of images needs at least one file")
        self.paths, self.crop, self.halve, self.grey = list(paths), crop, halve, grey
        self.corrupt: set[Path] = set()
        self.shape = _sizes(self._read(self.paths[0], None).shape)

    def __len__(self) -> int:
        return len(self.paths)

    def batch(self, numbers: Sequence[int] | Tensor, skip_corrupt: bool = False) -> tuple[Tensor, Tensor]:
        images, kept = [], []
        for position, number in enumerate(torch.as_tensor(numbers).tolist()):
            try:
                images.append(self._read(self.paths[number], self.shape))
                kept.append(position)
            except UserError as error:
                if not skip_corrupt:
                    raise
                if self.paths[number] not in self.corrupt:
                    self.corrupt.add(self.paths[number])
                    log.warning("skipped, %d so far: %s", len(self.corrupt), error)
        stacked = torch.stack(images) if images else torch.zeros(0, *self.shape)
        return stacked, torch.tensor(kept, dtype=torch.long)

    def _read(self, path: Path, shape: tuple[int, int, int] | None) -> Tensor:
        """The image of a file. shape: of the first one; None: this is the first."""
        from PIL import Image

        try:
            with Image.open(path) as opened:
                # A grey file stays grey; whatever else a file is, palette or alpha, becomes RGB.
                grey = self.grey or (opened.mode in ("L", "I;16", "1") if shape is None else shape[0] == 1)
                pixels = np.asarray(opened.convert("L" if grey else "RGB"), dtype=np.float32) / 255
        except (OSError, ValueError, SyntaxError) as error:
            raise UserError(f"{path} cannot be read as an image ({error})") from error
        image = torch.from_numpy(pixels[None] if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1)))
        if self.crop is not None:
            image = centre_crop(image, self.crop, str(path))
        if self.halve:
            image = torch.nn.functional.avg_pool2d(image, 2)
        if shape is not None and tuple(image.shape) != shape:
            raise UserError(
                f"{path} gives an image of shape {tuple(image.shape)}, the first one {shape}:"
                " set data.image_size to crop all alike"
            )
        return image


def centre_crop(images: Tensor, size: tuple[int, int], name: str = "the image") -> Tensor:
    """The middle (height, width) of (..., H, W)."""
    height, width = images.shape[-2:]
    if height < size[0] or width < size[1]:
        raise UserError(f"{name} is {height} x {width}, smaller than the crop {size[0]} x {size[1]}")
    top, left = (height - size[0]) // 2, (width - size[1]) // 2
    return images[..., top : top + size[0], left : left + size[1]]


class ComplexImages:
    """A grey source as complex images of zero imaginary part, (2, H, W), as the published fastMRI experiment has them."""

    def __init__(self, source: ImageSource) -> None:
        if source.shape[0] != 1:
            raise UserError(f"MRI needs grey images, these have {source.shape[0]} channels: set data.grey to true")
        self.source, self.in_memory = source, source.in_memory
        _, height, width = source.shape
        self.shape = (2, height, width)

    def __len__(self) -> int:
        return len(self.source)

    def batch(self, numbers: Sequence[int] | Tensor, skip_corrupt: bool = False) -> tuple[Tensor, Tensor]:
        images, kept = self.source.batch(numbers, skip_corrupt)
        return torch.cat((images, torch.zeros_like(images)), 1), kept
