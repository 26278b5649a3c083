"""Reading one picture or label map, with an error that names it."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from shared_utils import UserError

IGNORE = 255
IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
MASK_ENDINGS = (".png", ".tif", ".tiff", ".bmp")


class UnreadableError(UserError):
    """A picture of a data set is damaged: skipped and counted in training, an error in evaluation."""


class LabelledImage(NamedTuple):
    """``image``: (3, H, W) uint8 RGB; ``label``: (H, W) int64, 255 where there is no class; ``name``: for messages."""

    image: Tensor
    label: Tensor
    name: str


def _open(path: Path, mode: str | None) -> np.ndarray:
    try:
        with Image.open(path) as picture:
            return np.array(picture if mode is None else picture.convert(mode))
    except FileNotFoundError:
        raise UserError(f"{path} not found") from None
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError) as error:
        raise UnreadableError(f"{path} cannot be read as an image ({error}): replace or delete it") from None


def read_image(path: Path) -> Tensor:
    """(3, H, W) uint8 RGB. Raises UnreadableError where it is damaged."""
    return torch.from_numpy(_open(path, "RGB")).permute(2, 0, 1).contiguous()


def read_mask(path: Path) -> np.ndarray:
    """(H, W) whole numbers of 8, 16 or 32 bits, as stored (a palette's indices, not its colours).

    Raises:
        UnreadableError: it is damaged.
        UserError: it has several channels, or is no map of whole numbers.
    """
    values = _open(path, None)
    if values.ndim == 3 and (values == values[..., :1]).all():
        values = values[..., 0]
    if values.ndim != 2 or values.dtype.kind not in "uib":
        raise UserError(
            f"{path} is not a label map: expected one channel of whole numbers, got {values.dtype} {values.shape}"
        )
    return values.astype(np.int64)
