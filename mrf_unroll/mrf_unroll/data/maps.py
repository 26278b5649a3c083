"""Tissue maps in files: the layouts that are in use, with their units checked.

What cannot be right (units, shapes) is refused in one sentence that names the entry and the fix.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mrf_unroll.arrays import Arrays, load_arrays, numbers, require, write_arrays
from shared_utils import UserError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Maps:
    """Tissue maps, each (slices, H, W): T1 and T2 in seconds, PD, mask (bool), phase [rad] and b1 where there are any."""

    t1_s: np.ndarray
    t2_s: np.ndarray
    pd: np.ndarray
    mask: np.ndarray
    phase: np.ndarray | None = None
    b1: np.ndarray | None = None


def read_maps(path: str | Path, unit_t: str | None = None) -> Maps:
    """Read tissue maps.

    Understood: T1, T2 and PD (or M0), with mask, phase (or PD_phase) and B1 where present, (H, W) or (slices, H, W);
    the QMRI layout ``qmap``; PGD-Net's ``MRF_maps`` (n, H, W, 3) in s; LRTV's ``T1_GT``, ``T2_GT``, ``PD_GT``; a
    numerical brain ``cropped_brain`` (H, W, 5): PD, T1 [s], T2 [s], B0, B1.

    Voxels that are not finite, or 0 in T1, T2 or PD, are outside: 0 and not in the mask; how many of a given mask
    they were is logged.

    Args:
        unit_t: ``ms`` or ``s``; without it, the file's entry ``unit_t`` declares it, or its layout. A unit is never
            guessed: UserError where nothing declares one, and where the values contradict it.
    """
    content = load_arrays(path)
    given, unit = _find_maps(content, path)
    declared = unit_t or unit
    if declared is None and "unit_t" in content:
        declared = str(np.ravel(content["unit_t"])[0])
    if declared not in ("ms", "s"):
        raise UserError(
            f"{path}: the unit of T1 and T2 is not declared: give --unit_t ms or --unit_t s, or store an entry unit_t"
            if declared is None
            else f"{path}: unit_t is {declared!r}: it must be ms or s"
        )
    kinds = {name: complex if np.iscomplexobj(value) else float for name, value in given.items()}
    arrays = {name: _slices(numbers(given, name, path, kinds[name]), name, path) for name in given}
    shape = arrays["T1"].shape
    for name, value in arrays.items():
        if value.shape != shape:
            raise UserError(f"{path}: {name} has shape {value.shape}, T1 {shape}: they must agree")
    phase = arrays.get("phase")
    if np.iscomplexobj(arrays["PD"]):
        phase = np.angle(arrays["PD"]) if phase is None else phase
        arrays["PD"] = np.abs(arrays["PD"])
    values = {name: np.real(arrays[name]).astype(np.float64) for name in ("T1", "T2", "PD")}
    known = np.all([np.isfinite(value) & (value > 0) for value in values.values()], axis=0)
    if "mask" in arrays:
        wanted = np.nan_to_num(arrays["mask"]).astype(bool)
        if not wanted.any():
            raise UserError(f"{path}: the mask has no voxel: give one that covers the object, or leave it out")
        unknown = int((wanted & ~known).sum())
        if unknown:
            log.warning("%s: %d voxels of the mask have no finite, positive T1, T2 and PD, left out", path, unknown)
        known &= wanted
    elif unknown := int(np.any([~np.isfinite(value) for value in values.values()], axis=0).sum()):
        log.info("%s: %d voxels are not finite, taken as outside", path, unknown)
    if not known.any():
        raise UserError(f"{path}: no voxel has finite, positive T1, T2 and PD")
    median = float(np.median(values["T1"][known]))
    if declared == "s" and median > 20:
        raise UserError(f"{path}: the median T1 is {median:.4g} s, which looks like ms: declare --unit_t ms")
    if declared == "ms" and median < 20:
        raise UserError(f"{path}: the median T1 is {median:.4g} ms, which looks like s: declare --unit_t s")
    longer = int((values["T2"] > values["T1"])[known].sum())
    if longer:
        log.warning("%s: T2 exceeds T1 in %d voxels", path, longer)
    factor = 1.0 if declared == "s" else 1e-3
    return Maps(
        np.where(known, values["T1"], 0) * factor,
        np.where(known, values["T2"], 0) * factor,
        np.where(known, values["PD"], 0),
        known,
        None if phase is None else np.where(known, np.nan_to_num(np.real(phase)), 0),
        None if "B1" not in arrays else np.where(known, np.nan_to_num(np.real(arrays["B1"])), 1.0),
    )


def read_b1(path: str | Path) -> np.ndarray:
    """(S, H, W) relative transmit field: the entry B1 or b1 of a file, or that of tissue maps with one.

    Raises:
        UserError: where there is none, or its values are no relative field.
    """
    content = load_arrays(path)
    if "cropped_brain" in content:
        content = _find_maps(content, path)[0]
    named = [name for name in ("B1", "b1") if name in content]
    if not named:
        raise UserError(
            f"{path} has no entry B1 (it has {', '.join(content) or 'none'}): give a relative transmit field"
        )
    value = _slices(numbers(content, named[0], path), named[0], path)
    return np.stack([checked_b1(one, path) for one in value])


def checked_b1(b1: np.ndarray, path: str | Path) -> np.ndarray:
    """(H, W) float32 relative transmit field; where it is 0 or not finite, 1.

    Raises:
        UserError: for values that are no relative field.
    """
    known = np.isfinite(b1) & (b1 != 0)
    b1 = np.where(known, b1, 1.0)
    if b1.min() < 0.1 or b1.max() > 3 or not 0.3 < float(np.median(b1)) < 2:
        raise UserError(
            f"{path}: B1 is {b1.min():.3g} to {b1.max():.3g}: it must be relative to the nominal flip angle, about 1"
        )
    return b1.astype(np.float32)


def _find_maps(content: Arrays, path: str | Path) -> tuple[Arrays, str | None]:
    """The maps by our names, and the unit that the layout fixes."""
    if "cropped_brain" in content:
        planes = np.moveaxis(content["cropped_brain"], -1, 0)
        return dict(zip(("PD", "T1", "T2", "B1"), planes[[0, 1, 2, 4]], strict=True)), "s"
    if "MRF_maps" in content:
        planes = np.moveaxis(content["MRF_maps"], -1, 0)
        if len(planes) != 3:
            raise UserError(f"{path}: MRF_maps has shape {content['MRF_maps'].shape}, expected (n, H, W, 3)")
        return dict(zip(("T1", "T2", "PD"), planes, strict=True)), "s"
    if "qmap" in content:
        stack = content["qmap"]
        axes = [axis for axis, size in enumerate(stack.shape) if size == 3]
        if stack.ndim not in (3, 4) or not axes:
            raise UserError(f"{path}: qmap has shape {stack.shape}, expected T1, T2 and PD along one of its axes")
        planes = np.moveaxis(stack, axes[0], 0)
        # MATLAB's own order has the slices last.
        if planes.ndim == 4 and planes.shape[1] == planes.shape[2] != planes.shape[3]:
            planes = np.moveaxis(planes, 3, 1)
        return dict(zip(("T1", "T2", "PD"), planes, strict=True)), None
    names = {
        "T1": ("T1", "T1_GT", "T1map"),
        "T2": ("T2", "T2_GT", "T2map"),
        "PD": ("PD", "M0", "PD_GT", "PDmap"),
        "mask": ("mask",),
        "phase": ("phase", "PD_phase"),
        "B1": ("B1", "b1"),
    }
    found = {ours: content[name] for ours, others in names.items() for name in others[::-1] if name in content}
    require(found, path, "T1", "T2", "PD", fix=f"maps need T1, T2 and PD (or M0), {path} has {', '.join(content)}")
    return found, None


def _slices(value: np.ndarray, name: str, path: str | Path) -> np.ndarray:
    if value.ndim == 2:
        return value[None]
    if value.ndim != 3:
        raise UserError(f"{path}: {name} has shape {value.shape}, expected (H, W) or (slices, H, W)")
    return value


def write_maps(
    path: str | Path,
    t1_ms: np.ndarray,
    t2_ms: np.ndarray,
    pd: np.ndarray,
    mask: np.ndarray | None = None,
    phase: np.ndarray | None = None,
    b1: np.ndarray | None = None,
) -> None:
    """Write ``maps.npz`` in ms, whole or not at all; each (H, W) or (slices, H, W)."""
    write_arrays(path, {"T1": t1_ms, "T2": t2_ms, "PD": pd, "unit_t": "ms", "mask": mask, "phase": phase, "B1": b1})
