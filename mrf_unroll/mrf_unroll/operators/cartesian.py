"""The operator of the published PGD-Net: samples on the grid of the image's FFT."""

from __future__ import annotations

import torch
from torch import nn

from mrf_unroll.operators.tensors import exact, full_precision


class CartesianMaskOperator(nn.Module):
    """The operator of the published PGD-Net: y = rows(mask) of fft2(V x) / sqrt(HW), uncentred.

    Args:
        mask: (M,) 0-based positions of the kept samples, counted over (frame, column, row) as the published files do,
            the row changing fastest.
        basis: (N, s), real or complex.
        image_size: (H, W), square (other images scramble k-space in the published code, so they are refused).
    """

    mask: torch.Tensor
    basis: torch.Tensor

    def __init__(self, mask: torch.Tensor, basis: torch.Tensor, image_size: tuple[int, int]) -> None:
        super().__init__()
        height, width = (int(size) for size in image_size)
        if height != width:
            raise ValueError(
                f"the published order of samples is defined for square images only, got {height} x {width}"
            )
        mask = mask.detach().long().reshape(-1)
        if len(mask) and (int(mask.min()) < 0 or int(mask.max()) >= len(basis) * height * width):
            raise ValueError(
                f"mask positions must lie in [0, {len(basis) * height * width}), got {int(mask.min())} to"
                f" {int(mask.max())}: published files count from 1, subtract 1"
            )
        self.image_size = (height, width)
        self.register_buffer("mask", mask, persistent=False)
        self.register_buffer("basis", exact(basis.detach()), persistent=False)

    @property
    def rank(self) -> int:
        return self.basis.shape[1]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, s, H, W) -> (B, M) complex."""
        with torch.autocast(x.device.type, enabled=False):
            x = full_precision(x)
            spectrum = torch.fft.fft2(x, norm="ortho")
            frames = torch.einsum("bkhw,nk->bnwh", spectrum, self.basis.to(x.dtype))
            return frames.flatten(1)[:, self.mask]

    def adjoint(self, y: torch.Tensor) -> torch.Tensor:
        """(B, M) -> (B, s, H, W) real: zero-filled, V^H, inverse FFT, real part."""
        with torch.autocast(y.device.type, enabled=False):
            y = full_precision(y)
            height, width = self.image_size
            frames = y.new_zeros(len(y), len(self.basis) * height * width)
            frames = frames.index_copy(1, self.mask, y).unflatten(1, (len(self.basis), width, height))
            spectrum = torch.einsum("bnwh,nk->bkhw", frames, self.basis.to(y.dtype).conj())
            return torch.fft.ifft2(spectrum, norm="ortho").real

    weighted_adjoint = adjoint

    def normal(self, x: torch.Tensor) -> torch.Tensor:
        """Re(A^H A x) of a real x."""
        return self.adjoint(self.forward(x))
