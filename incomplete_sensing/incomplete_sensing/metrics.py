"""Quality of reconstructions, per image; and the published codes' PSNRs, for comparison.

Images are (B, C, H, W); with ``complex_valued`` their two channels are real and imaginary part, and magnitudes are
compared.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from incomplete_sensing.operators import OperatorFamily


def magnitude(images: Tensor) -> Tensor:
    """(B, 2, H, W) real and imaginary part -> (B, 1, H, W)."""
    return images.square().sum(1, keepdim=True).sqrt()


def compared(images: Tensor, truth: Tensor, complex_valued: bool) -> tuple[Tensor, Tensor]:
    """What a metric compares: the images, or the magnitudes of complex ones."""
    return (magnitude(images), magnitude(truth)) if complex_valued else (images, truth)


def psnr(images: Tensor, truth: Tensor, peak: float = 1.0, complex_valued: bool = False) -> Tensor:
    """20 log10(peak / RMSE) of each image in dB: (B,); infinite where equal."""
    images, truth = compared(images, truth, complex_valued)
    return 20 * math.log10(peak) - 10 * (images - truth).square().flatten(1).mean(1).log10()


def nmse(images: Tensor, truth: Tensor, complex_valued: bool = False) -> Tensor:
    """||x^ - x||^2 / ||x||^2 of each image: (B,)."""
    images, truth = compared(images, truth, complex_valued)
    return (images - truth).square().flatten(1).sum(1) / truth.square().flatten(1).sum(1)


def ssim(images: Tensor, truth: Tensor, peak: float = 1.0, complex_valued: bool = False) -> Tensor:
    """Structural similarity of each image (Wang et al. 2004): Gaussian window of 11 pixels, sigma 1.5; (B,).

    The mean over positions where the window lies inside the image. Images below 11 pixels take the largest odd window.
    """
    images, truth = compared(images, truth, complex_valued)
    channels, height, width = images.shape[1:]
    size = min(11, min(height, width) - 1 + min(height, width) % 2)
    places = torch.arange(size, device=images.device, dtype=images.dtype) - (size - 1) / 2
    line = (-places.square() / (2 * 1.5**2)).exp()
    window = torch.outer(line, line) / line.sum() ** 2
    kernel = window.expand(channels, 1, size, size)

    def local_mean(values: Tensor) -> Tensor:
        return F.conv2d(values, kernel, groups=channels)

    mean_a, mean_b = local_mean(images), local_mean(truth)
    variance_a = local_mean(images.square()) - mean_a.square()
    variance_b = local_mean(truth.square()) - mean_b.square()
    covariance = local_mean(images * truth) - mean_a * mean_b
    c1, c2 = (0.01 * peak) ** 2, (0.03 * peak) ** 2
    similarity = ((2 * mean_a * mean_b + c1) * (2 * covariance + c2)) / (
        (mean_a.square() + mean_b.square() + c1) * (variance_a + variance_b + c2)
    )
    return similarity.flatten(1).mean(1)


def consistency_residual(images: Tensor, measurements: Tensor, operators: OperatorFamily, g: int | Tensor) -> Tensor:
    """||A_g x^ - y|| / ||y|| of each sample: (B,). Needs no truth."""
    residual = (operators(images, g) - measurements).flatten(1).norm(dim=1)
    return residual / measurements.flatten(1).norm(dim=1)


def psnr_moi(images: Tensor, truth: Tensor, peak: float = 1.0, complex_valued: bool = False) -> Tensor:
    """MOI's training log: the RMSE is over the whole batch; 100 where equal. A scalar."""
    images, truth = compared(images, truth, complex_valued)
    error = (images - truth).square().mean()
    return torch.where(error == 0, 100.0, 20 * torch.log10(peak / error.sqrt()))


def psnr_rei(images: Tensor, truth: Tensor, complex_valued: bool = False) -> Tensor:
    """EI's and REI's: 20 log10(sqrt(H W) max|x| / ||x^ - x||) with both over the whole batch. A scalar.

    Right for one image of one channel only: it falls with the size of the batch.
    """
    images, truth = compared(images, truth, complex_valued)
    height, width = truth.shape[-2:]
    return 20 * torch.log10(math.sqrt(height * width) * truth.abs().max() / (truth - images).norm())
