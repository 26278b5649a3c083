"""Receive coils: simulated sensitivities, sensitivities estimated from the scan itself, and fewer virtual coils."""

from __future__ import annotations

import math

import torch

from mrf_unroll.operators import SubspaceOperator
from shared_utils import UserError


def gaussian_ring_maps(num_coils: int, height: int, width: int, spread: float = 0.6) -> torch.Tensor:
    """(C, H, W) complex64 with sum_c |S_c|^2 = 1: Gaussian lobes of coils on a ring around the image.

    One coil is the uniform coil.

    Args:
        spread: standard deviation of a lobe in half image widths.
    """
    if num_coils == 1:
        return torch.ones(1, height, width, dtype=torch.complex64)
    y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    angle = 2 * math.pi * torch.arange(num_coils)[:, None, None] / num_coils
    distance = (y - 1.1 * angle.sin()) ** 2 + (x - 1.1 * angle.cos()) ** 2
    # A phase of its own, slowly varying, as real coils have.
    phase = angle + 0.5 * (x * angle.cos() + y * angle.sin())
    return normalise_maps(torch.polar(torch.exp(-distance / (2 * spread**2)), phase))


def normalise_maps(coil_maps: torch.Tensor) -> torch.Tensor:
    """Divide (C, H, W) by the root of sum_c |S_c|^2; pixels where every coil is 0 stay 0."""
    total = torch.linalg.vector_norm(coil_maps, dim=-3, keepdim=True)
    return torch.where(total > 0, coil_maps / total.clamp(min=1e-12), torch.zeros_like(coil_maps))


@torch.no_grad()
def estimate_coil_maps(
    kspace: torch.Tensor,
    trajectory: torch.Tensor,
    basis: torch.Tensor,
    image_size: tuple[int, int],
    dcf: torch.Tensor | None = None,
    calibration: int = 16,
    window: int = 5,
) -> torch.Tensor:
    """(C, H, W) complex64 sensitivities from the scan's own low frequencies (adaptive combination, Walsh 2000).

    Samples with |k| below calibration / (2 max(H, W)) are gridded, coil by coil, onto the first component of the
    basis; the maps are the leading eigenvectors of the coils' covariance in windows of ``window`` calibration pixels,
    with the phase of the first virtual coil taken out.

    Args:
        kspace: (C, N, P).
    """
    height, width = image_size
    radius = torch.linalg.vector_norm(trajectory.double(), dim=-1)
    limit = calibration / (2 * max(height, width))
    # A Hann window over the kept disc keeps the images from ringing.
    taper = torch.where(radius < limit, 0.5 + 0.5 * torch.cos(math.pi * radius / limit), torch.zeros_like(radius))
    weights = taper if dcf is None else taper * dcf.double()
    operator = SubspaceOperator(trajectory, basis[:, :1], image_size, dcf=weights)
    images = operator.weighted_adjoint(kspace[:, None])[:, 0]
    num_coils = len(images)
    if num_coils == 1:
        return torch.ones(1, height, width, dtype=torch.complex64)
    covariance = torch.einsum("chw,dhw->cdhw", images, images.conj()).reshape(1, -1, height, width)
    # The window, in pixels of the full image, is odd and inside it.
    size = min(window * max(1, round(max(height, width) / (2 * calibration))), min(height, width))
    size = size if size % 2 else size - 1
    smooth = torch.complex(
        *(
            torch.nn.functional.avg_pool2d(part, size, 1, size // 2, count_include_pad=False)
            for part in (covariance.real, covariance.imag)
        )
    )
    matrices = smooth.reshape(num_coils, num_coils, height * width).permute(2, 0, 1)
    leading = torch.linalg.eigh(matrices)[1][..., -1].T.reshape(num_coils, height, width)
    # Eigenvectors have no phase of their own: refer it to the coils' strongest joint channel, which has no zeros inside.
    whole = torch.linalg.eigh(torch.einsum("chw,dhw->cd", images, images.conj()))[1][:, -1]
    reference = torch.einsum("c,chw->hw", whole.conj(), leading)
    return (leading * torch.exp(-1j * reference.angle())).to(torch.complex64)


def compress_coils(
    kspace: torch.Tensor, coil_maps: torch.Tensor | None, num_coils: int
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The ``num_coils`` virtual coils with the most energy (SVD over coils; Buehrer 2007).

    Args:
        kspace: (C, N, P).
        coil_maps: (C, H, W), or None.
        num_coils: how many are kept.

    Returns:
        Both for the virtual coils.
    """
    flat = kspace.reshape(len(kspace), -1)
    if not 1 <= num_coils <= len(kspace):
        raise UserError(f"{len(kspace)} coils cannot be compressed to {num_coils}")
    vectors = torch.linalg.eigh(flat @ flat.mH)[1].flip(1)[:, :num_coils]
    mix = vectors.mH
    virtual = (mix @ flat).reshape(num_coils, *kspace.shape[1:])
    return virtual, None if coil_maps is None else torch.einsum("vc,chw->vhw", mix.to(coil_maps.dtype), coil_maps)
