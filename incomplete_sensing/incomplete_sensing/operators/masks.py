"""Inpainting: the pixels that are kept."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from incomplete_sensing.operators.base import OperatorFamily
from shared_utils import UserError


def check_binary(masks: Tensor, what: str = "masks") -> None:
    """Raise UserError for a mask with other values than 0 and 1, or with none at 1."""
    if not bool(((masks == 0) | (masks == 1)).all()):
        raise UserError(f"{what} hold values other than 0 and 1")
    empty = (masks.flatten(1).sum(1) == 0).nonzero()[:, 0].tolist()
    if empty:
        raise UserError(f"{what}: operator {empty[0]} keeps nothing (its mask is empty)")


class MaskOperators(OperatorFamily):
    """y = mask_g * x, zeros kept in place: measurements have the images' shape, and A = A^T = A^+.

    Args:
        masks: (G, H, W), shared by the channels, or (G, C, H, W), of 0 and 1.
        image_shape: (C, H, W).
    """

    kind = "mask"
    masks: Tensor

    def __init__(self, masks: Tensor, image_shape: Sequence[int]) -> None:
        masks = torch.as_tensor(masks)
        masks = masks[:, None] if masks.ndim == 3 else masks
        super().__init__(image_shape, len(masks), image_shape)
        if (
            masks.ndim != 4
            or tuple(masks.shape[2:]) != self.image_shape[1:]
            or masks.shape[1] not in (1, self.image_shape[0])
        ):
            raise UserError(
                f"masks have shape {tuple(masks.shape)}, images {self.image_shape}: expected (G, H, W) or (G, C, H, W)"
            )
        check_binary(masks)
        self.register_buffer("masks", masks.to(torch.float32))

    def _forward(self, images: Tensor, g: int | Tensor) -> Tensor:
        return self.masks[g] * images

    def _adjoint(self, measurements: Tensor, g: int | Tensor) -> Tensor:
        return self.masks[g] * measurements

    _pinv = _adjoint

    def observed(self, g: int | Tensor) -> Tensor:
        return self.masks[g].reshape(-1, *self.masks.shape[1:])

    @property
    def num_measurements(self) -> Tensor:
        return (self.masks.flatten(1).sum(1) * (self.image_shape[0] // self.masks.shape[1])).long().cpu()
