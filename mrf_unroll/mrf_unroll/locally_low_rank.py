"""Locally low rank reconstruction: in a small block of voxels the time series are few different ones (Zhang 2015)."""

from __future__ import annotations

import torch
from torch.nn import functional

from mrf_unroll.classical import Solved
from mrf_unroll.operators import Normal


@torch.no_grad()
def locally_low_rank(
    h: torch.Tensor, normal: Normal, lipschitz: float, lam: float, iterations: int = 100, block: int = 6, seed: int = 0
) -> Solved:
    """min 0.5 |W^(1/2)(A x - y)|^2 + lam sum_b |x_b|_* by FISTA with steps 1 / L, from h = A^H W y (B, s, H, W).

    x_b: the voxels of a block by components; |.|_*: the sum of the singular values. The grid of blocks is shifted at random
    in every iteration, so that no borders appear; the objective changes with it, and ``history`` is |x_t - x_{t-1}| / |x_t|.

    Args:
        lipschitz: L, the norm of ``normal``.
        block: voxels along the side of a block.
    """
    generator = torch.Generator().manual_seed(seed)
    x = torch.zeros_like(h)
    point, momentum = x, 1.0
    history = [torch.ones(len(h), device=h.device)]
    for _ in range(iterations):
        shift = torch.randint(block, (2,), generator=generator).tolist()
        moved = shrink_blocks(point - (normal(point) - h) / lipschitz, lam / lipschitz, block, (shift[0], shift[1]))
        following = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
        point = moved + (momentum - 1) / following * (moved - x)
        change = (moved - x).abs().square().flatten(1).sum(dim=1) / moved.abs().square().flatten(1).sum(dim=1).clamp(
            1e-30
        )
        history.append(change.sqrt())
        x, momentum = moved, following
    return Solved(x, torch.stack(history), torch.full((len(h),), iterations))


def shrink_blocks(x: torch.Tensor, threshold: float, block: int, shift: tuple[int, int] = (0, 0)) -> torch.Tensor:
    """argmin_z 0.5 |z - x|^2 + threshold sum_b |z_b|_*: the singular values of every block, shrunk. x: (B, s, H, W).

    Args:
        shift: of the grid of blocks; blocks that leave the image are cut off at its border.
    """
    batch, rank, height, width = x.shape
    top, left = (value % block for value in shift)
    padded = functional.pad(x, (left, -(left + width) % block, top, -(top + height) % block))
    rows, columns = padded.shape[-2] // block, padded.shape[-1] // block
    voxels = padded.reshape(batch, rank, rows, block, columns, block).permute(0, 2, 4, 3, 5, 1)
    voxels = voxels.reshape(batch * rows * columns, block * block, rank)
    energies, vectors = torch.linalg.eigh(voxels.mH @ voxels)
    values = energies.clamp(min=0).sqrt()
    kept = (1 - threshold / values.clamp(min=1e-20)).clamp(min=0).to(vectors.dtype)
    voxels = voxels @ ((vectors * kept[:, None, :]) @ vectors.mH)
    voxels = voxels.reshape(batch, rows, columns, block, block, rank).permute(0, 5, 1, 3, 2, 4)
    return voxels.reshape(padded.shape)[..., top : top + height, left : left + width]
