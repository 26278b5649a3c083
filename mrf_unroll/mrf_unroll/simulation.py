"""What a scan of given tissue maps would measure: continuous EPG signals of every voxel, sampled along a trajectory."""

from __future__ import annotations

from collections.abc import Callable

import torch

from mrf_unroll import epg
from mrf_unroll.sequence import Sequence

# Voxels whose whole time series lives at once: 16 384 of 1000 pulses are 131 MB.
_CHUNK = 16384


@torch.no_grad()
def tsmi(
    maps: torch.Tensor,
    sequence: Sequence,
    basis: torch.Tensor,
    b1: torch.Tensor | None = None,
    phase: torch.Tensor | None = None,
) -> torch.Tensor:
    """The compressed time series x = V^H X of maps, by EPG of every voxel's own T1 and T2: no grid, no decoder.

    Args:
        maps: (B, 3, H, W), T1 [s], T2 [s], PD.
        basis: (N, s); the identity gives the whole series.
        b1: (B, H, W) relative transmit field.
        phase: (B, H, W) of the object, rad.

    Returns:
        (B, s, H, W), float32, or complex64 where RF phases or ``phase`` make it so; 0 where PD, T1 or T2 is 0.
        Signals are in the dictionary's convention, Re(i s).
    """
    t1_ms, t2_ms = (1000 * maps[:, channel].double() for channel in (0, 1))
    density = maps[:, 2]
    inside = (t1_ms > 0) & (t2_ms > 0) & (density != 0)
    simulate = epg.fisp_atoms if sequence.is_real else epg.fisp_signal
    basis = basis.conj().to(torch.complex128 if basis.is_complex() or not sequence.is_real else torch.float64)
    basis = basis.to(maps.device)
    x = torch.zeros(*density.shape, basis.shape[1], dtype=basis.dtype, device=maps.device)
    tissues, fields = torch.stack([t1_ms[inside], t2_ms[inside]]), None if b1 is None else b1[inside].double()
    # Sorted by T2, a chunk needs few numbers of states.
    order = torch.argsort(tissues[1])
    compressed = torch.zeros(tissues.shape[1], basis.shape[1], dtype=basis.dtype, device=maps.device)
    for chunk in order.split(_CHUNK):
        signals = simulate(tissues[0, chunk], tissues[1, chunk], sequence, b1=1.0 if fields is None else fields[chunk])
        signals = signals if sequence.is_real else 1j * signals
        compressed[chunk] = signals.to(basis.dtype) @ basis
    x[inside] = compressed * density[inside][:, None]
    x = x.movedim(-1, 1)
    if phase is not None:
        x = x * torch.polar(torch.ones_like(phase), phase).to(x.device)[:, None]
    return x.to(torch.complex64 if x.is_complex() else torch.float32)


def simulate_kspace(
    x: torch.Tensor,
    operator: Callable[[torch.Tensor], torch.Tensor],
    noise: float = 0.01,
    generator: torch.Generator | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Noisy samples (B, C, N, P) of x, and the noise's standard deviation (B,), of the real and of the imaginary part.

    Args:
        noise: that deviation over the mean of |y|, for every item by itself.
        operator: A of what x is: ``SubspaceOperator`` of a compressed series, ``FrameOperator`` of a whole one.
    """
    y = operator(x)
    deviation = noise * y.abs().flatten(1).mean(dim=1)
    draws = torch.randn(*y.shape, 2, generator=generator, dtype=y.real.dtype).to(y.device)
    return y + deviation.reshape(-1, *[1] * (y.ndim - 1)) * torch.view_as_complex(draws), deviation
