"""Image files as arrays and tensors."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch

from shared_utils import UserError


def read_image(path: Path) -> np.ndarray:
    """(H, W, 3) uint8 RGB. Raises UserError naming the file where it cannot be read."""
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise UserError(f"{path} is not an image that can be read: fetch or extract it again")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def to_tensor(image: np.ndarray) -> torch.Tensor:
    """(H, W, 3) uint8 -> (3, H, W) float32 in [0, 1], as published without mean and deviation."""
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))).float() / 255
