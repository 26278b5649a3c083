"""Cartesian MRI: centred orthonormal Fourier transform, masked; one coil, or several with their sensitivities."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from incomplete_sensing.operators.base import OperatorFamily
from incomplete_sensing.operators.masks import check_binary
from shared_utils import UserError


def to_complex(images: Tensor) -> Tensor:
    """(B, 2, ...) real and imaginary part -> (B, ...) complex."""
    return torch.complex(images[:, 0], images[:, 1])


def to_real(images: Tensor) -> Tensor:
    """(B, ...) complex -> (B, 2, ...) real and imaginary part."""
    return torch.stack((images.real, images.imag), 1)


def fft2c(images: Tensor) -> Tensor:
    """Centred orthonormal 2-D Fourier transform of the last two dimensions of a complex tensor."""
    shifted = torch.fft.ifftshift(images, dim=(-2, -1))
    return torch.fft.fftshift(torch.fft.fft2(shifted, norm="ortho"), dim=(-2, -1))


def ifft2c(k_space: Tensor) -> Tensor:
    """Inverse of ``fft2c``."""
    shifted = torch.fft.ifftshift(k_space, dim=(-2, -1))
    return torch.fft.fftshift(torch.fft.ifft2(shifted, norm="ortho"), dim=(-2, -1))


def _k_space_masks(masks: Tensor, height: int, width: int) -> Tensor:
    masks = torch.as_tensor(masks)
    masks = masks[:, None, :] if masks.ndim == 2 else masks
    if masks.ndim != 3 or masks.shape[2] != width or masks.shape[1] not in (1, height):
        raise UserError(
            f"k-space masks have shape {tuple(masks.shape)}, expected (G, {width}) columns or (G, {height}, {width})"
        )
    check_binary(masks, "k-space masks")
    return masks.to(torch.float32)


class MRIOperators(OperatorFamily):
    """Single-coil MRI: y = mask_g * F x, zero-filled; A^+ = A^T = F^-1 mask_g.

    Images and measurements are (2, H, W): real and imaginary part.

    Args:
        masks: (G, W) of columns, or (G, H, W); 0 and 1.
        image_shape: (2, H, W).
    """

    kind = "mri"
    masks: Tensor

    def __init__(self, masks: Tensor, image_shape: Sequence[int]) -> None:
        super().__init__(image_shape, len(masks), image_shape)
        channels, height, width = self.image_shape
        if channels != 2:
            raise UserError(f"MRI images have 2 channels (real and imaginary part), got {channels}")
        self.register_buffer("masks", _k_space_masks(masks, height, width))

    def _forward(self, images: Tensor, g: int | Tensor) -> Tensor:
        return self.observed(g) * to_real(fft2c(to_complex(images)))

    def _adjoint(self, measurements: Tensor, g: int | Tensor) -> Tensor:
        return to_real(ifft2c(to_complex(self.observed(g) * measurements)))

    _pinv = _adjoint

    def observed(self, g: int | Tensor) -> Tensor:
        return self.masks[g].reshape(-1, 1, *self.masks.shape[1:])


class MultiCoilMRIOperators(OperatorFamily):
    """Parallel MRI: coil c sees y_c = mask_g * F (S_c x).

    Images are (2, H, W), measurements (2, coils, H, W). A^+ by conjugate gradients (SENSE).

    Args:
        masks: (G, W) or (G, H, W); 0 and 1.
        coil_maps: complex sensitivities (coils, H, W), shared by all operators, or (G, coils, H, W).
        image_shape: (2, H, W); that of the maps where not given.
    """

    kind = "multicoil_mri"
    masks: Tensor
    coil_maps: Tensor

    def __init__(self, masks: Tensor, coil_maps: Tensor, image_shape: Sequence[int] | None = None) -> None:
        coil_maps = torch.as_tensor(coil_maps)
        coil_maps = coil_maps[None] if coil_maps.ndim == 3 else coil_maps
        if coil_maps.ndim != 4 or not coil_maps.is_complex() or len(coil_maps) not in (1, len(masks)):
            raise UserError(
                f"coil maps are complex (coils, H, W) or (G, coils, H, W), got {coil_maps.dtype} {tuple(coil_maps.shape)}"
            )
        coils, height, width = coil_maps.shape[1:]
        super().__init__((2, height, width), len(masks), (2, coils, height, width))
        if image_shape is not None and tuple(image_shape) != self.image_shape:
            raise UserError(f"coil maps are for images of shape {self.image_shape}, not {tuple(image_shape)}")
        self.register_buffer("masks", _k_space_masks(masks, height, width))
        self.register_buffer("coil_maps", coil_maps)

    def _maps(self, g: int | Tensor) -> Tensor:
        return self.coil_maps if len(self.coil_maps) == 1 else self.coil_maps[g].reshape(-1, *self.coil_maps.shape[1:])

    def _forward(self, images: Tensor, g: int | Tensor) -> Tensor:
        return self.observed(g) * to_real(fft2c(self._maps(g) * to_complex(images)[:, None]))

    def _adjoint(self, measurements: Tensor, g: int | Tensor) -> Tensor:
        coil_images = ifft2c(to_complex(self.observed(g) * measurements))
        return to_real((self._maps(g).conj() * coil_images).sum(1))

    def observed(self, g: int | Tensor) -> Tensor:
        return self.masks[g].reshape(-1, 1, 1, *self.masks.shape[1:])


def estimate_coil_maps(k_space: Tensor, centre: tuple[int, int] | None = None) -> Tensor:
    """Coil sensitivities from the fully sampled centre of one scan: (coils, H, W) complex -> (coils, H, W) complex.

    Each coil's low-resolution image (Hann window over the centre) over the root of the sum of squares of all; zero where
    there is hardly any signal.

    Args:
        k_space: centred and zero-filled.
        centre: (rows, columns) of the block; the largest fully sampled one about the middle where not given.

    Raises:
        UserError: no centre is fully sampled.
    """
    height, width = k_space.shape[-2:]
    if centre is None:
        centre = _sampled_centre(k_space.abs().sum(0) > 0)
    rows, columns = (min(size, full) for size, full in zip(centre, (height, width), strict=True))
    if min(rows, columns) < 4:
        raise UserError("the centre of k-space is not fully sampled: coil maps cannot be estimated, give them")
    window = torch.zeros(height, width)
    top, left = (height - rows + 1) // 2, (width - columns + 1) // 2
    window[top : top + rows, left : left + columns] = torch.outer(
        torch.hann_window(rows + 2, periodic=False)[1:-1], torch.hann_window(columns + 2, periodic=False)[1:-1]
    )
    images = ifft2c(k_space * window)
    magnitude = images.abs().square().sum(0).sqrt()
    # The phase of the strongest coil is the reference, so that the combined image keeps a smooth phase.
    strongest = images.abs().flatten(1).sum(1).argmax()
    maps = images / magnitude.clamp_min(1e-12) * torch.exp(-1j * images[strongest].angle())
    return torch.where(magnitude > 0.03 * magnitude.max(), maps, 0)


def _sampled_centre(sampled: Tensor) -> tuple[int, int]:
    """The largest fully sampled block about the middle of a (H, W) pattern: grown evenly, then along either side."""
    height, width = sampled.shape

    def full(rows: int, columns: int) -> bool:
        top, left = (height - rows + 1) // 2, (width - columns + 1) // 2
        return bool(sampled[top : top + rows, left : left + columns].all())

    size = 0
    while size < min(height, width) and full(size + 1, size + 1):
        size += 1
    rows = columns = size
    while rows and rows < height and full(rows + 1, columns):
        rows += 1
    while columns and columns < width and full(rows, columns + 1):
        columns += 1
    return rows, columns
