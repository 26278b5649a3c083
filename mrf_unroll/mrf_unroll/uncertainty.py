"""How far a map may be off: the Cramer-Rao bound of every voxel's series, with the noise that its neighbourhood leaves over."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from mrf_unroll import epg
from mrf_unroll.sequence import Sequence

# Tissues whose derivatives are tabulated, in ms, and the relative step of the differences.
_T1_MS, _T2_MS, _POINTS, _STEP = (80.0, 6000.0), (8.0, 2500.0), 40, 0.02
# Side of the square over which what is left over is averaged.
_WINDOW = 5
# By which errors of T1, T2 and PD exceed the bound, since a reconstruction's smoothing and artefacts are not white noise: the
# quantile of 68 % over the voxels of the eight validation slices (benchmarks/calibration.py).
FACTORS: dict[str, tuple[float, float, float]] = {
    "svd_mrf": (0.82, 0.77, 12.51),
    "low_rank": (1.70, 1.02, 2.13),
    "llr": (4.58, 2.12, 7.96),
    "lrtv": (3.05, 1.86, 3.74),
    "unrolled": (1.32, 0.85, 1.69),
}
_USUAL = (2.0, 2.0, 2.0)


def tangents(sequence: Sequence, basis: Tensor) -> Tensor:
    """(K, s, 3) on a grid of tissues: the compressed fingerprint d of PD 1, and its derivatives by log T1 and log T2."""
    grids = [np.geomspace(*window, _POINTS) for window in (_T1_MS, _T2_MS)]
    t1, t2 = (torch.from_numpy(value.reshape(-1)) for value in np.meshgrid(*grids, indexing="ij"))
    simulate = epg.fisp_atoms if sequence.is_real else epg.fisp_signal

    def atoms(own_t1: Tensor, own_t2: Tensor) -> Tensor:
        signals = simulate(own_t1, own_t2, sequence)
        signals = signals if sequence.is_real else 1j * signals
        kind = torch.promote_types(signals.dtype, basis.dtype)
        return signals.to(kind) @ basis.cpu().conj().to(kind)

    with torch.no_grad():
        up, down = 1 + _STEP, 1 / (1 + _STEP)
        width = 2 * math.log(up)
        by_t1 = (atoms(up * t1, t2) - atoms(down * t1, t2)) / width
        by_t2 = (atoms(t1, up * t2) - atoms(t1, down * t2)) / width
        return torch.stack([atoms(t1, t2), by_t1, by_t2], dim=2)


def map_deviations(
    series: Tensor, maps: Tensor, mask: Tensor, table: Tensor, factors: tuple[float, ...]
) -> Tensor | None:
    """(3, H, W) standard deviations of T1 [s], T2 [s] and PD inside the mask, 0 outside.

    The part of a voxel's series that no change of its T1, T2 and PD explains, averaged over 5 x 5 voxels, is taken for the
    noise of every coefficient; the bound is that of a fit of T1, T2 and PD (and the phase of a complex series).

    Args:
        series: (s, H, W).
        maps: (3, H, W), T1 [s], T2 [s], PD.
        mask: (H, W).
        table: of ``tangents``.
        factors: of T1, T2 and PD, by which the bound is multiplied (``factors_of``).

    Returns:
        None where s is below 4: the fit leaves nothing over then.
    """
    rank, inside = len(series), mask.cpu()
    if rank < 4 or not inside.any():
        return None
    voxels = series.cpu().movedim(0, -1)[inside]
    t1, t2, density = maps.cpu()[:, inside].double()
    columns = table[_nearest(t1, _T1_MS) * _POINTS + _nearest(t2, _T2_MS)]
    columns = torch.stack([columns[..., 1], columns[..., 2], columns[..., 0]], dim=2)
    if voxels.is_complex() or columns.is_complex():
        voxels, columns = voxels.to(torch.complex128), columns.to(torch.complex128)
        product = (voxels * columns[..., 2].conj()).sum(dim=1)
        voxels = voxels * (product.conj() / product.abs().clamp_min(1e-30))[:, None]
        columns = torch.cat([columns, 1j * columns[..., 2:]], dim=2)
        voxels, columns = (torch.cat([value.real, value.imag], dim=1) for value in (voxels, columns))
    voxels, columns = voxels.double(), columns.double()
    degrees = voxels.shape[1] - columns.shape[2]
    span = torch.linalg.qr(columns).Q
    rest = voxels - (span @ (span.mT @ voxels[..., None]))[..., 0]
    energy = torch.zeros(inside.shape, dtype=torch.float64)
    energy[inside] = rest.square().sum(dim=1) / degrees
    sums = functional.avg_pool2d(torch.stack([energy, inside.double()])[None], _WINDOW, 1, _WINDOW // 2)[0]
    variance = (sums[0] / sums[1].clamp_min(1e-9))[inside]
    # The Fisher matrix in relative T1 and T2, scaled to a diagonal of 1.
    scale = torch.ones(len(columns), columns.shape[2], dtype=torch.float64)
    scale[:, :2] = density.clamp_min(1e-30)[:, None]
    jacobian = columns * scale[:, None]
    size = jacobian.norm(dim=1).clamp_min(1e-30)
    unit = jacobian / size[:, None]
    bound = torch.linalg.pinv(unit.mT @ unit, hermitian=True).diagonal(dim1=1, dim2=2).clamp_min(0).sqrt() / size
    bound = bound[:, :3] * variance.sqrt()[:, None] * torch.tensor(factors, dtype=torch.float64)
    found = torch.zeros(3, *inside.shape)
    found[:, inside] = (bound.T * torch.stack([t1, t2, torch.ones_like(t1)])).float()
    return found


def factors_of(method: str) -> tuple[float, float, float]:
    """By which a method's errors of T1, T2 and PD exceed the bound."""
    return FACTORS.get(method, _USUAL)


def _nearest(seconds: Tensor, window: tuple[float, float]) -> Tensor:
    """The place of T1 or T2 on its grid."""
    low, high = math.log(window[0]), math.log(window[1])
    place = ((1000 * seconds.clamp_min(1e-6)).log() - low) / (high - low) * (_POINTS - 1)
    return place.round().long().clamp(0, _POINTS - 1)
