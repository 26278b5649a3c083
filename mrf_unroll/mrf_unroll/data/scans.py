"""Scans in files, .npz or HDF5: k-space, trajectory, schedule, and coil maps and weights where there are any.

Times are in ms, angles in degrees, positions in cycles/pixel. What cannot be right (shapes, trajectories in radians) is
refused in one sentence that names the entry and the fix.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mrf_unroll.arrays import Arrays, load_arrays, number, numbers, require, write_arrays
from mrf_unroll.data.geometry import Geometry
from mrf_unroll.data.maps import checked_b1
from mrf_unroll.sequence import Sequence as Schedule
from mrf_unroll.trajectory import check_positions
from shared_utils import UserError

log = logging.getLogger(__name__)

# Of an image in pixels: what no slice has.
_LARGEST_SIDE = 2048


@dataclass(frozen=True)
class Scan:
    """One slice of an acquisition.

    Args:
        kspace: (C, N, P) complex64.
        trajectory: (N, P, 2) float32 (ky, kx), cycles/pixel.
        coil_maps: (C, H, W) complex64 or None (to be estimated).
        dcf: (N, P) float32 or None.
        image_size: (H, W).
        noise_std: of real and imaginary part.
        b1: (H, W) relative transmit field, or None.
        geometry: where the slice lies, where that is known.
    """

    kspace: np.ndarray
    trajectory: np.ndarray
    image_size: tuple[int, int]
    sequence: Schedule
    coil_maps: np.ndarray | None = None
    dcf: np.ndarray | None = None
    noise_std: float | None = None
    b1: np.ndarray | None = None
    geometry: Geometry | None = None


def read_scan(path: str | Path) -> Scan:
    """The one slice of a file; see ``read_scans``. UserError where it has several."""
    slices = read_scans(path)
    if len(slices) > 1:
        raise UserError(f"{path} has {len(slices)} slices: one is needed here")
    return slices[0]


def read_scans(path: str | Path) -> list[Scan]:
    """Read the slices of ``scan.npz`` or of the group /mrf of an HDF5 file.

    Entries: kspace (C, N, P) (or (N, P), one coil; or (S, C, N, P), slices), traj (N, P, 2), fa_deg, tr_ms, te_ms, ti_ms,
    image_size; where present csm (C, H, W), b1 (H, W) (of slices: (S, ...)), dcf (N, P), phase_deg,
    inversion_efficiency, noise_std; position_mm, column, row, normal (3,) (of slices: (S, 3)), spacing_mm (3,) (``Geometry``).
    Coil maps that are not normalised (sum_c |S_c|^2 is not 1 inside) are normalised, with a warning.

    Raises:
        UserError: for a missing entry, shapes that disagree, |k| > 0.5, values that are not finite, negative weights.
    """
    content = load_arrays(path)
    require(content, path, "kspace", "traj", "image_size", fix="a scan has kspace, traj, image_size and its schedule")
    kspace = np.asarray(content["kspace"])
    if kspace.dtype.kind in "biuf":
        raise UserError(f"{path}: kspace is not complex: store complex samples")
    kspace = numbers(content, "kspace", path, complex)
    shape = kspace.shape
    kspace = kspace[(None,) * (4 - kspace.ndim)] if kspace.ndim in (2, 3) else kspace
    trajectory = check_trajectory(numbers(content, "traj", path), path)
    if kspace.ndim != 4 or kspace.shape[2:] != trajectory.shape[:2]:
        raise UserError(
            f"{path}: kspace {shape} and traj {trajectory.shape} disagree: kspace is (coils, frames, samples), or"
            " (slices, coils, frames, samples), traj (frames, samples, 2)"
        )
    if not kspace.size:
        raise UserError(f"{path}: kspace {shape} is empty: it needs a coil, a frame and a sample at least")
    image_size = _image_size(numbers(content, "image_size", path), path)
    sequence = Schedule.from_arrays(content, path)
    if len(sequence) != len(trajectory):
        raise UserError(
            f"{path}: the schedule has {len(sequence)} pulses, kspace {len(trajectory)} frames: they must agree"
        )
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
    slices, coils = kspace.shape[:2]
    maps, fields = [None] * slices, [None] * slices
    if "csm" in content:
        value = numbers(content, "csm", path, complex)
        given = value[None] if value.ndim == 3 else value
        if given.shape != (slices, coils, *image_size):
            raise UserError(
                f"{path}: csm {value.shape} does not fit {coils} coils and images of {image_size}: it must be (C, H, W), or"
                " (slices, C, H, W)"
            )
        maps = [_checked_coil_maps(own, path) for own in given]
    if "b1" in content:
        value = numbers(content, "b1", path)
        given = value[None] if value.ndim == 2 else value
        if given.shape != (slices, *image_size):
            raise UserError(f"{path}: b1 {value.shape} does not fit images of {image_size}: it must be (H, W)")
        fields = [checked_b1(own, path) for own in given]
    deviation = number(content, "noise_std", path) if "noise_std" in content else None
    places = _geometries(content, slices, path)
    found = []
    for samples, own_maps, b1, place in zip(kspace, maps, fields, places, strict=True):
        check_samples(samples, path)
        one = Scan(samples.astype(np.complex64), trajectory, image_size, sequence, own_maps, dcf, deviation)
        found.append(replace(one, b1=b1, geometry=place))
    return found


def check_samples(kspace: np.ndarray, path: str | Path) -> None:
    """Raise UserError for k-space (C, N, P) that is not finite, 0, or beyond single precision."""
    if not np.isfinite(kspace).all():
        raise UserError(
            f"{path}: {int((~np.isfinite(kspace)).sum())} samples of kspace are not finite: correct the file"
        )
    largest = float(np.abs(kspace).max())
    if not largest:
        raise UserError(f"{path}: kspace is 0 everywhere: nothing was measured")
    if not 1e-30 < largest < 1e30:
        raise UserError(f"{path}: kspace reaches {largest:.3g}: scale it so that single precision holds it")


def _geometries(content: Arrays, slices: int, path: str | Path) -> Sequence[Geometry | None]:
    """Of every slice; None where the file does not say."""
    names = ("position_mm", "column", "row", "normal")
    if "position_mm" not in content:
        return [None] * slices
    require(content, path, *names, "spacing_mm", fix="a place has position_mm, column, row, normal and spacing_mm")
    values = [np.broadcast_to(numbers(content, name, path).reshape(-1, 3), (slices, 3)) for name in names]
    spacing = numbers(content, "spacing_mm", path).reshape(-1)
    if len(spacing) != 3:
        raise UserError(f"{path}: spacing_mm has {len(spacing)} values: it is mm between rows, columns and slices")
    return [Geometry.of(a, b, c, d, spacing.tolist()) for a, b, c, d in zip(*values, strict=True)]


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


def _checked_coil_maps(coil_maps: np.ndarray, path: str | Path) -> np.ndarray:
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


def write_scans(path: str | Path, scans: Sequence[Scan]) -> None:
    """Write slices of one schedule and trajectory as ``.npz``, or as HDF5 (group /mrf) where the name ends in .h5 or .hdf5."""
    first = scans[0]

    def stacked(values: list[np.ndarray | None]) -> np.ndarray | None:
        known = [value for value in values if value is not None]
        if len(known) < len(values):
            return None
        return known[0] if len(known) == 1 else np.stack(known)

    places = [one.geometry for one in scans]
    known = [place for place in places if place is not None]
    entries: dict[str, Any] = {
        "kspace": stacked([one.kspace.astype(np.complex64) for one in scans]),
        "traj": first.trajectory.astype(np.float32),
        "image_size": np.array(first.image_size),
        "csm": stacked([one.coil_maps for one in scans]),
        "b1": stacked([one.b1 for one in scans]),
        "dcf": first.dcf,
        "noise_std": first.noise_std,
        **first.sequence.as_arrays(),
    }
    if len(known) == len(places):
        entries |= {
            "position_mm": stacked([place.position for place in known]),
            "column": stacked([place.column for place in known]),
            "row": stacked([place.row for place in known]),
            "normal": stacked([place.normal for place in known]),
            "spacing_mm": known[0].spacing,
        }
    write_arrays(path, entries)


def write_scan(path: str | Path, scan: Scan) -> None:
    """Write one slice; see ``write_scans``."""
    write_scans(path, [scan])
