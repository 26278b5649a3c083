"""Scans of given maps: a slice of a file or a procedural head, and what a protocol measures of it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from mrf_unroll.coils import gaussian_ring_maps
from mrf_unroll.data.geometry import Geometry
from mrf_unroll.data.ismrmrd_files import write_ismrmrd
from mrf_unroll.data.maps import Maps, read_maps
from mrf_unroll.data.phantoms import head_phantom
from mrf_unroll.data.pulseq_files import write_pulseq
from mrf_unroll.data.scans import Scan, write_scans
from mrf_unroll.operators import FrameOperator
from mrf_unroll.protocol import Protocol
from mrf_unroll.simulation import simulate_kspace, tsmi
from shared_utils import UserError


def load_slice(source: str, place: int, unit_t: str | None, seed: int, use_b1: bool, use_phase: bool) -> Maps:
    """One slice, (1, H, W) each: of a file of maps, or ``head:48``, a procedural head; PD is scaled to a maximum of 1.

    Raises:
        UserError: where there is no such slice, and where a field is asked for that the file lacks.
    """
    if head := re.fullmatch(r"head:(\d+)", source):
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
        phase=maps.phase[one] if use_phase and maps.phase is not None else None,
        b1=maps.b1[one] if use_b1 and maps.b1 is not None else None,
    )


def count_slices(source: str, unit_t: str | None) -> int:
    """How many slices the maps have; a procedural head is one."""
    return 1 if re.fullmatch(r"head:(\d+)", source) else len(read_maps(source, unit_t).pd)


def simulate_stack(
    stack: Sequence[Maps], protocol: Protocol, num_coils: int, noise: float, seed: int, size_mm: tuple[float, float]
) -> list[Scan]:
    """Transverse slices of (side, thickness) ``size_mm``, one beside the other, the middle one at the isocentre."""
    side, thickness = size_mm
    scans = []
    for place, maps in enumerate(stack):
        scan = simulate_scan(maps, protocol, num_coils, noise, seed + place)
        pixel = side / max(scan.image_size)
        geometry = Geometry.axial((pixel, pixel, thickness), (place - len(stack) // 2) * thickness)
        scans.append(replace(scan, geometry=geometry))
    return scans


def write_acquisition(path: str | Path, scans: Sequence[Scan], seq: str | Path | None = None) -> None:
    """Write slices as ``write_scans`` does; with ``seq`` as ISMRMRD, and the sequence as a Pulseq file there."""
    if seq is None:
        write_scans(path, scans)
        return
    first = scans[0]
    assert first.geometry is not None
    height, width = first.image_size
    fov_mm = (height * float(first.geometry.spacing[0]), width * float(first.geometry.spacing[1]))
    write_pulseq(seq, first.sequence, first.trajectory, first.image_size, fov_mm, len(scans))
    write_ismrmrd(path, scans)


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
