"""What a scan of given tissue maps would measure: continuous EPG signals of every voxel, sampled along a trajectory."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from mrf_unroll import epg
from mrf_unroll.coils import gaussian_ring_maps
from mrf_unroll.files import Maps, Scan, read_maps
from mrf_unroll.operators import FrameOperator
from mrf_unroll.schedules import Sequence
from shared_utils import UserError

if TYPE_CHECKING:
    from mrf_unroll.protocol import Protocol

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

    maps: (B, 3, H, W), T1 [s], T2 [s], PD. basis: (N, s); the identity gives the whole series. b1: (B, H, W) relative
    transmit field. phase: (B, H, W) of the object, rad. Returns (B, s, H, W), float32, or complex64 where RF phases or
    ``phase`` make it so; 0 where PD, T1 or T2 is 0. Signals are in the dictionary's convention, Re(i s).
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
        signals = simulate(*tissues[:, chunk], sequence, b1=1.0 if fields is None else fields[chunk])
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

    noise: that deviation over the mean of |y|, for every item by itself. operator: A of what x is: ``SubspaceOperator``
    of a compressed series, ``FrameOperator`` of a whole one.
    """
    y = operator(x)
    deviation = noise * y.abs().flatten(1).mean(dim=1)
    draws = torch.randn(*y.shape, 2, generator=generator, dtype=y.real.dtype).to(y.device)
    return y + deviation.reshape(-1, *[1] * (y.ndim - 1)) * torch.view_as_complex(draws), deviation


def load_slice(source: str, place: int, unit_t: str | None, seed: int, use_b1: bool, use_phase: bool) -> Maps:
    """One slice, (1, H, W) each: of a file of maps, or ``head:48``, a procedural head; PD is scaled to a maximum of 1.

    Raises UserError where there is no such slice, and where a field is asked for that the file lacks.
    """
    if head := re.fullmatch(r"head:(\d+)", source):
        from mrf_unroll.data.phantoms import head_phantom

        phantom = head_phantom(int(head[1]), np.random.default_rng(seed))
        t1, t2, density = phantom.maps.astype(np.float64)[:, None]
        return Maps(t1, t2, density, phantom.mask[None])
    maps = read_maps(source, unit_t)
    if not 0 <= place < len(maps.pd):
        raise UserError(f"{source} has {len(maps.pd)} slices: --slice must lie in 0 to {len(maps.pd) - 1}")
    for wanted, name, value in ((use_b1, "B1", maps.b1), (use_phase, "phase", maps.phase)):
        if wanted and value is None:
            raise UserError(f"{source} has no map of {name}: leave the option out")
    one = slice(place, place + 1)
    density = maps.pd[one]
    return replace(
        maps,
        t1_s=maps.t1_s[one],
        t2_s=maps.t2_s[one],
        pd=density / max(float(density.max()), 1e-30),
        mask=maps.mask[one],
        phase=maps.phase[one] if use_phase else None,
        b1=maps.b1[one] if use_b1 else None,
    )


def simulate_scan(maps: Maps, protocol: Protocol, num_coils: int, noise: float, seed: int) -> Scan:
    """What the protocol's schedule and trajectory measure of one slice, with coils on a ring and noise (see above)."""
    tensor = [torch.from_numpy(np.ascontiguousarray(value)) for value in (maps.t1_s, maps.t2_s, maps.pd)]
    height, width = maps.pd.shape[1:]
    b1, phase = (None if value is None else torch.from_numpy(value) for value in (maps.b1, maps.phase))
    series = tsmi(torch.stack(tensor, dim=1).float(), protocol.sequence, torch.eye(len(protocol.sequence)), b1, phase)
    coil_maps = gaussian_ring_maps(num_coils, height, width)
    operator = FrameOperator(protocol.trajectory, (height, width), None if num_coils == 1 else coil_maps)
    y, deviation = simulate_kspace(series, operator, noise, torch.Generator().manual_seed(seed))
    density = protocol.density
    return Scan(
        y[0].numpy(),
        protocol.trajectory.numpy(),
        (height, width),
        protocol.sequence,
        coil_maps.numpy(),
        None if density is None else density.numpy(),
        float(deviation[0]),
    )
