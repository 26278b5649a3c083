"""Scans in files, .npz or HDF5: k-space, trajectory, schedule, and coil maps and weights where there are any.

Times are in ms, angles in degrees, positions in cycles/pixel. What cannot be right (shapes, trajectories in radians) is
refused in one sentence that names the entry and the fix.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mrf_unroll.arrays import load_arrays, number, numbers, require, write_arrays
from mrf_unroll.sequence import Sequence
from mrf_unroll.trajectory import check_positions
from shared_utils import UserError

log = logging.getLogger(__name__)

# Of an image in pixels: what no slice has.
_LARGEST_SIDE = 2048


@dataclass(frozen=True)
class Scan:
    """One acquisition.

    Args:
        kspace: (C, N, P) complex64.
        trajectory: (N, P, 2) float32 (ky, kx), cycles/pixel.
        coil_maps: (C, H, W) complex64 or None (to be estimated).
        dcf: (N, P) float32 or None.
        image_size: (H, W).
        noise_std: of real and imaginary part.
    """

    kspace: np.ndarray
    trajectory: np.ndarray
    image_size: tuple[int, int]
    sequence: Sequence
    coil_maps: np.ndarray | None = None
    dcf: np.ndarray | None = None
    noise_std: float | None = None


def read_scan(path: str | Path) -> Scan:
    """Read ``scan.npz`` or the group /mrf of an HDF5 file.

    Entries: kspace (C, N, P) (or (N, P), one coil), traj (N, P, 2), fa_deg, tr_ms, te_ms, ti_ms, image_size; where
    present csm (C, H, W), dcf (N, P), phase_deg, inversion_efficiency, noise_std. Coil maps that are not normalised
    (sum_c |S_c|^2 is not 1 inside) are normalised, with a warning.

    Raises:
        UserError: for a missing entry, shapes that disagree, |k| > 0.5, values that are not finite, negative weights.
    """
    content = load_arrays(path)
    require(content, path, "kspace", "traj", "image_size", fix="a scan has kspace, traj, image_size and its schedule")
    kspace = np.asarray(content["kspace"])
    if kspace.dtype.kind in "biuf":
        raise UserError(f"{path}: kspace is not complex: store complex samples")
    kspace = numbers(content, "kspace", path, complex)
    kspace = kspace[None] if kspace.ndim == 2 else kspace
    trajectory = check_trajectory(numbers(content, "traj", path), path)
    if kspace.ndim != 3 or kspace.shape[1:] != trajectory.shape[:2]:
        raise UserError(
            f"{path}: kspace {kspace.shape} and traj {trajectory.shape} disagree: kspace is (coils, frames, samples), traj"
            " (frames, samples, 2)"
        )
    if not kspace.size:
        raise UserError(f"{path}: kspace {kspace.shape} is empty: it needs a coil, a frame and a sample at least")
    if not np.isfinite(kspace).all():
        raise UserError(
            f"{path}: {int((~np.isfinite(kspace)).sum())} samples of kspace are not finite: correct the file"
        )
    largest = float(np.abs(kspace).max())
    if not largest:
        raise UserError(f"{path}: kspace is 0 everywhere: nothing was measured")
    if not 1e-30 < largest < 1e30:
        raise UserError(f"{path}: kspace reaches {largest:.3g}: scale it so that single precision holds it")
    image_size = _image_size(numbers(content, "image_size", path), path)
    sequence = Sequence.from_arrays(content, path)
    if len(sequence) != len(trajectory):
        raise UserError(
            f"{path}: the schedule has {len(sequence)} pulses, kspace {len(trajectory)} frames: they must agree"
        )
    coil_maps = None
    if "csm" in content:
        coil_maps = _checked_coil_maps(numbers(content, "csm", path, complex), len(kspace), image_size, path)
    dcf = None
    if "dcf" in content:
        dcf = numbers(content, "dcf", path).astype(np.float32)
        if dcf.shape != trajectory.shape[:2]:
            raise UserError(
                f"{path}: dcf {dcf.shape} does not fit traj {trajectory.shape}: it must be (frames, samples)"
            )
        if not (np.isfinite(dcf).all() and (dcf >= 0).all()):
            raise UserError(f"{path}: dcf has weights that are negative or not finite: leave it out, or correct it")
        if not dcf.any():
            raise UserError(f"{path}: dcf is 0 everywhere: leave it out, or correct it")
    return Scan(
        kspace.astype(np.complex64),
        trajectory,
        image_size,
        sequence,
        coil_maps,
        dcf,
        number(content, "noise_std", path) if "noise_std" in content else None,
    )


def check_trajectory(value: np.ndarray, source: str | Path) -> np.ndarray:
    """(N, P, 2) float32, or UserError for another shape, values not finite, and |k| beyond 0.5 cycles/pixel."""
    if value.ndim != 3 or value.shape[2] != 2:
        raise UserError(f"{source}: traj has shape {value.shape}, expected (frames, samples, 2)")
    check_positions(value, source)
    return value.astype(np.float32)


def _image_size(value: np.ndarray, path: str | Path) -> tuple[int, int]:
    """Height and width of one or two whole numbers."""
    size = value.reshape(-1)
    if len(size) not in (1, 2) or not np.isfinite(size).all() or (size != np.round(size)).any():
        raise UserError(f"{path}: image_size {value.tolist()}: it must be height and width, two whole numbers")
    if size.min() < 2:
        raise UserError(f"{path}: image_size {size.tolist()}: height and width must be at least 2")
    if size.max() > _LARGEST_SIDE:
        raise UserError(
            f"{path}: image_size {size.tolist()}: more than {_LARGEST_SIDE} pixels a side: is it in units of length?"
        )
    return int(size[0]), int(size[-1])


def _checked_coil_maps(
    coil_maps: np.ndarray, num_coils: int, image_size: tuple[int, int], path: str | Path
) -> np.ndarray:
    if coil_maps.shape != (num_coils, *image_size):
        raise UserError(
            f"{path}: csm {coil_maps.shape} does not fit {num_coils} coils and images of {image_size}: it must be (C, H, W)"
        )
    if not np.isfinite(coil_maps).all():
        raise UserError(f"{path}: csm has values that are not finite: set them to 0 outside the object")
    if not coil_maps.any():
        raise UserError(f"{path}: csm is 0 everywhere: leave it out, so that it is estimated")
    total = np.sqrt((np.abs(coil_maps) ** 2).sum(axis=0))
    inside = total > 0.05 * total.max()
    if inside.any() and np.abs(total[inside] - 1).max() > 0.05:
        log.warning(
            "%s: csm is not normalised (root sum of squares %.3g to %.3g): normalised here",
            path,
            total[inside].min(),
            total[inside].max(),
        )
        coil_maps = np.where(inside, coil_maps / np.maximum(total, 1e-12), 0)
    return coil_maps.astype(np.complex64)


def write_scan(path: str | Path, scan: Scan) -> None:
    """Write a scan as ``.npz``, or as HDF5 (group /mrf) where the name ends in .h5 or .hdf5; whole or not at all."""
    entries = {
        "kspace": scan.kspace.astype(np.complex64),
        "traj": scan.trajectory.astype(np.float32),
        "image_size": np.array(scan.image_size),
        "csm": scan.coil_maps,
        "dcf": scan.dcf,
        "noise_std": scan.noise_std,
        **scan.sequence.as_arrays(),
    }
    write_arrays(path, entries)
