"""Parallel-beam computed tomography."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from incomplete_sensing.operators.base import OperatorFamily
from shared_utils import UserError


class TomographyOperators(OperatorFamily):
    """Line integrals through the image, view by view: bilinear samples one pixel apart along every ray, summed.

    Images are (C, H, W), sinograms (C, views, detectors) in units of pixels, where the detectors, one pixel wide, cover
    the image's diagonal. The adjoint is the exact transpose; A^+ by conjugate gradients; ``fbp`` is the usual
    approximation to it.

    Args:
        angles: (G, views) in degrees, counter-clockwise; operators differ in their views.
        image_shape: (C, H, W).
    """

    kind = "ct"
    angles: Tensor

    def __init__(self, angles: Tensor, image_shape: Sequence[int]) -> None:
        angles = torch.as_tensor(angles)
        if angles.ndim != 2 or not angles.shape[1]:
            raise UserError(f"angles have shape (G, views), got {tuple(angles.shape)}")
        channels, height, width = (int(size) for size in image_shape)
        diagonal = math.ceil(math.hypot(height, width))
        # As even or odd as the width, so that the view at 0 degrees sums whole columns.
        self.num_detectors = diagonal + (diagonal - width) % 2
        super().__init__(image_shape, len(angles), (channels, angles.shape[1], self.num_detectors))
        self.register_buffer("angles", angles.to(torch.float32))

    def _rays(self, g: int | Tensor, view: int, samples: int) -> Tensor:
        """Where the rays of a view sample the image: (B, steps along the ray, detectors, 2), normalised x and y."""
        _, height, width = self.image_shape
        angles = torch.deg2rad(self.angles[g].reshape(-1, self.angles.shape[1])[:, view]).expand(samples)
        cosine, sine = angles.cos()[:, None, None], angles.sin()[:, None, None]
        places = (
            torch.arange(self.num_detectors, device=angles.device, dtype=angles.dtype) - (self.num_detectors - 1) / 2
        )
        along, across = places[:, None], places[None, :]
        x, y = across * cosine + along * sine, along * cosine - across * sine
        return torch.stack((2 * x / width, 2 * y / height), -1)

    def _forward(self, images: Tensor, g: int | Tensor) -> Tensor:
        return _Project.apply(images, self, g)

    def _adjoint(self, measurements: Tensor, g: int | Tensor) -> Tensor:
        return _BackProject.apply(measurements, self, g)

    def project(self, images: Tensor, g: int | Tensor) -> Tensor:
        """The sinogram, without a graph."""
        views = range(self.angles.shape[1])
        return torch.stack(
            [F.grid_sample(images, self._rays(g, view, len(images)), align_corners=False).sum(2) for view in views],
            2,
        )

    def back_project(self, sinograms: Tensor, g: int | Tensor) -> Tensor:
        """The transpose of ``project``, without a graph."""
        images = sinograms.new_zeros(len(sinograms), *self.image_shape)
        for view in range(self.angles.shape[1]):
            rays = sinograms[:, :, view, None, :].expand(-1, -1, self.num_detectors, -1).contiguous()
            grid = self._rays(g, view, len(sinograms))
            images += torch.ops.aten.grid_sampler_2d_backward(rays, images, grid, 0, 0, False, [True, False])[0]
        return images

    def fbp(self, measurements: Tensor, g: int | Tensor) -> Tensor:
        """Filtered back-projection (ramp filter): (B, C, views, detectors) -> (B, C, H, W)."""
        size = 2 ** math.ceil(math.log2(2 * self.num_detectors))
        ramp = torch.fft.rfftfreq(size, device=measurements.device).abs()
        filtered = torch.fft.irfft(torch.fft.rfft(measurements, size) * ramp, size)[..., : self.num_detectors]
        return self.adjoint(filtered, g) * math.pi / self.angles.shape[1]


class _Project(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, family: TomographyOperators, g: int | Tensor) -> Tensor:
        ctx.family, ctx.g = family, g
        return family.project(images, g)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple:
        return _BackProject.apply(gradient, ctx.family, ctx.g), None, None


class _BackProject(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, sinograms: Tensor, family: TomographyOperators, g: int | Tensor) -> Tensor:
        ctx.family, ctx.g = family, g
        return family.back_project(sinograms, g)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple:
        return _Project.apply(gradient, ctx.family, ctx.g), None, None
