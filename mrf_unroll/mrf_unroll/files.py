"""Files that come in and go out: tissue maps, scans, and the layouts of published code.

Units in files are milliseconds and degrees unless an entry says otherwise. Nothing in a file is executed. What cannot be
right (units, shapes, trajectories in radians) is refused in one sentence that names the entry and the fix.
"""

from __future__ import annotations

import logging
import math
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mrf_unroll.schedules import Sequence
from shared_utils import UserError

log = logging.getLogger(__name__)
_HDF5 = b"\x89HDF\r\n\x1a\n"
Arrays = dict[str, np.ndarray]


def load_arrays(path: str | Path) -> Arrays:
    """Every array of an .npz, a .mat (v5 to v7.3) or an HDF5 file (its group /mrf, where there is one), by name.

    MATLAB structs come as ``struct.field``. Raises UserError for a file that is missing, damaged or of another kind.
    """
    path = Path(path)
    if path.is_dir():
        raise UserError(f"{path} is a folder: give a file")
    if not path.is_file():
        raise UserError(f"{path} not found: check the path")
    with path.open("rb") as stream:
        head = stream.read(520)
    if not head:
        raise UserError(f"{path} is empty (0 bytes): save or download it again")
    try:
        if head.startswith(_HDF5) or head[512:520] == _HDF5:
            return _load_hdf5(path, matlab=path.suffix == ".mat")
        if head[:2] == b"PK":
            with np.load(path, allow_pickle=False) as archive:
                return {name: archive[name] for name in archive.files}
        if path.suffix == ".mat":
            return _load_mat(path)
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, NotImplementedError) as error:
        if "pickle" in str(error):
            raise UserError(f"{path} holds Python objects, which are never read: save plain arrays") from error
        raise UserError(f"{path} is damaged or not what its name says ({error}): save it again") from error
    raise UserError(f"{path} is no .npz, .mat or HDF5 file: convert it to one of them")


def _load_mat(path: Path) -> Arrays:
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        content = loadmat(path, struct_as_record=True)
    except MatReadError as error:
        raise UserError(f"{path} is not a MATLAB file ({error}): save it again") from error
    arrays: Arrays = {}
    for name, value in content.items():
        if name.startswith("__"):
            continue
        if value.dtype.names and value.size == 1:
            record = value.reshape(-1)[0]
            arrays.update({f"{name}.{field}": np.asarray(record[field]) for field in value.dtype.names})
        else:
            arrays[name] = value
    return arrays


def _load_hdf5(path: Path, matlab: bool) -> Arrays:
    import h5py

    arrays: Arrays = {}

    def visit(name: str, item: h5py.Dataset | h5py.Group) -> None:
        if not isinstance(item, h5py.Dataset) or name.startswith("#"):
            return
        value = item.asstr()[()] if h5py.check_string_dtype(item.dtype) else item[()]
        value = np.asarray(value)
        if value.dtype.names == ("real", "imag"):
            value = value["real"] + 1j * value["imag"]
        # MATLAB stores the last index slowest.
        arrays[name.replace("/", ".")] = value.T if matlab else value

    with h5py.File(path) as file:
        file.get("mrf", file).visititems(visit)
    return arrays


def require(content: Mapping[str, np.ndarray], source: str | Path, *keys: str, fix: str) -> None:
    """Raise UserError naming the first of ``keys`` that is missing, what there is, and the fix."""
    for key in keys:
        if key not in content:
            raise UserError(f"{source} has no entry {key} (it has {', '.join(content) or 'none'}): {fix}")


# Maps ---------------------------------------------------------------------------------------------------------------------


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
    the QMRI layout ``qmap``; PGD-Net's ``MRF_maps`` (n, H, W, 3) in s; LRTV's ``T1_GT``, ``T2_GT``, ``PD_GT``; a numerical brain
    ``cropped_brain`` (H, W, 5): PD, T1 [s], T2 [s], B0, B1.
    unit_t: ``ms`` or ``s``; without it, the file's entry ``unit_t`` says so, or its layout. A unit is never guessed: where
    nothing declares one, and where the values contradict it, UserError tells.
    Voxels that are not finite, or 0 in T1, T2 or PD, are outside: 0 and not in the mask; how many of a given mask they
    were is logged.
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
    arrays = {name: _slices(value, name, path) for name, value in given.items()}
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
) -> None:
    """Write ``maps.npz`` in ms, whole or not at all; each (H, W) or (slices, H, W)."""
    entries = {"T1": t1_ms, "T2": t2_ms, "PD": pd, "unit_t": "ms", "mask": mask, "phase": phase}
    _write_npz(path, {name: value for name, value in entries.items() if value is not None})


# Scans --------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scan:
    """One acquisition.

    kspace: (C, N, P) complex64. trajectory: (N, P, 2) float32 (ky, kx), cycles/pixel. coil_maps: (C, H, W) complex64 or
    None (to be estimated). dcf: (N, P) float32 or None. image_size: (H, W). noise_std: of real and imaginary part.
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
    present csm (C, H, W), dcf (N, P), phase_deg, inversion_efficiency, noise_std. Raises UserError for a missing entry,
    shapes that disagree, |k| > 0.5, values that are not finite, negative weights; maps that are not normalised
    (sum_c |S_c|^2 is not 1 inside) are normalised, with a warning.
    """
    from mrf_unroll.dictionary import sequence_from

    content = load_arrays(path)
    require(content, path, "kspace", "traj", "image_size", fix="a scan has kspace, traj, image_size and its schedule")
    kspace = np.asarray(content["kspace"])
    kspace = kspace[None] if kspace.ndim == 2 else kspace
    trajectory = check_trajectory(content["traj"], path)
    if kspace.ndim != 3 or kspace.shape[1:] != trajectory.shape[:2]:
        raise UserError(
            f"{path}: kspace {kspace.shape} and traj {trajectory.shape} disagree: kspace is (coils, frames, samples), traj"
            " (frames, samples, 2)"
        )
    if not np.iscomplexobj(kspace):
        raise UserError(f"{path}: kspace is not complex: store complex samples")
    if not np.isfinite(kspace).all():
        raise UserError(f"{path}: {int((~np.isfinite(kspace)).sum())} samples of kspace are not finite: mend the file")
    size = np.ravel(content["image_size"])
    image_size = (int(size[0]), int(size[-1]))
    if min(image_size) < 2:
        raise UserError(f"{path}: image_size {image_size}: height and width must be at least 2")
    sequence = sequence_from(content, path)
    if len(sequence) != len(trajectory):
        raise UserError(
            f"{path}: the schedule has {len(sequence)} pulses, kspace {len(trajectory)} frames: they must agree"
        )
    coil_maps = content.get("csm")
    if coil_maps is not None:
        coil_maps = _checked_coil_maps(np.asarray(coil_maps), len(kspace), image_size, path)
    dcf = content.get("dcf")
    if dcf is not None:
        dcf = np.asarray(dcf, dtype=np.float32)
        if dcf.shape != trajectory.shape[:2]:
            raise UserError(
                f"{path}: dcf {dcf.shape} does not fit traj {trajectory.shape}: it must be (frames, samples)"
            )
        if not (np.isfinite(dcf).all() and (dcf >= 0).all()):
            raise UserError(f"{path}: dcf has weights that are negative or not finite: leave it out, or mend it")
    noise = content.get("noise_std")
    return Scan(
        kspace.astype(np.complex64),
        trajectory,
        image_size,
        sequence,
        coil_maps,
        dcf,
        None if noise is None else float(np.ravel(noise)[0]),
    )


def check_trajectory(value: np.ndarray, source: str | Path) -> np.ndarray:
    """(N, P, 2) float32, or UserError for another shape, values not finite, and |k| beyond 0.5 cycles/pixel."""
    trajectory = np.asarray(value, dtype=np.float64)
    if trajectory.ndim != 3 or trajectory.shape[2] != 2:
        raise UserError(f"{source}: traj has shape {trajectory.shape}, expected (frames, samples, 2)")
    if not np.isfinite(trajectory).all():
        raise UserError(f"{source}: traj has values that are not finite: mend the file")
    largest = float(np.abs(trajectory).max(initial=0))
    if largest > 0.5 + 1e-6:
        radians = largest <= math.pi * 1.01
        raise UserError(
            f"{source}: |k| reaches {largest:.4g}, beyond 0.5 cycles/pixel"
            + (
                ": it looks like radians, divide traj by 2 pi"
                if radians
                else ": divide traj by the image size (pixels)"
            )
        )
    return trajectory.astype(np.float32)


def _checked_coil_maps(
    coil_maps: np.ndarray, num_coils: int, image_size: tuple[int, int], path: str | Path
) -> np.ndarray:
    if coil_maps.shape != (num_coils, *image_size):
        raise UserError(
            f"{path}: csm {coil_maps.shape} does not fit {num_coils} coils and images of {image_size}: it must be (C, H, W)"
        )
    if not np.isfinite(coil_maps).all():
        raise UserError(f"{path}: csm has values that are not finite: set them to 0 outside the object")
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
    from mrf_unroll.dictionary import sequence_arrays

    entries = {
        "kspace": scan.kspace.astype(np.complex64),
        "traj": scan.trajectory.astype(np.float32),
        "image_size": np.array(scan.image_size),
        "csm": scan.coil_maps,
        "dcf": scan.dcf,
        "noise_std": scan.noise_std,
        **sequence_arrays(scan.sequence),
    }
    entries = {name: value for name, value in entries.items() if value is not None}
    if Path(path).suffix in (".h5", ".hdf5"):
        import h5py

        from shared_utils.checkpoint import replacing

        with replacing(path) as temporary, h5py.File(temporary, "w") as file:
            group = file.create_group("mrf")
            for name, value in entries.items():
                group[name] = value
        return
    _write_npz(path, entries)


def _write_npz(path: str | Path, entries: Mapping[str, np.ndarray]) -> None:
    from shared_utils.checkpoint import replacing

    with replacing(path) as temporary, temporary.open("wb") as stream:
        np.savez(stream, **entries)


def refuse_existing(path: str | Path, force: bool) -> None:
    """Raise UserError where ``path`` exists and ``force`` is not given."""
    if Path(path).exists() and not force:
        raise UserError(f"{path} exists: give --force to replace it, or another --out")


# Published layouts --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PublishedData:
    """PGD-Net's ``train_dataXS11_s.mat``: tsmi (n, s, H, W), kspace (n, M) complex, maps (n, 3, H, W) in s, mask (M,) 0-based."""

    tsmi: np.ndarray
    kspace: np.ndarray
    maps: np.ndarray
    mask: np.ndarray


def read_pgdnet_data(path: str | Path) -> PublishedData:
    """Read ``X`` (n, H, W, s), ``y_s_real``, ``y_s_imag`` (n, M), ``MRF_maps`` (n, H, W, 3) and the 1-based ``samplemask_s``."""
    content = load_arrays(path)
    names = ("X", "y_s_real", "y_s_imag", "MRF_maps", "samplemask_s")
    require(content, path, *names, fix="it is no training or test file of PGD-Net")
    x, maps = content["X"], content["MRF_maps"]
    if x.ndim != 4 or maps.ndim != 4 or maps.shape[-1] != 3 or x.shape[:3] != maps.shape[:3]:
        raise UserError(f"{path}: X {x.shape} and MRF_maps {maps.shape} must be (n, H, W, s) and (n, H, W, 3)")
    mask = np.ravel(content["samplemask_s"]).astype(np.int64) - 1
    kspace = content["y_s_real"] + 1j * content["y_s_imag"]
    if len(mask) and mask.min() < 0:
        raise UserError(f"{path}: samplemask_s must count from 1, its smallest value is {mask.min() + 1}")
    if kspace.shape != (len(x), len(mask)):
        raise UserError(f"{path}: y_s {kspace.shape} does not fit {len(x)} slices and {len(mask)} samples of the mask")
    planes = (np.ascontiguousarray(np.moveaxis(value, -1, 1), dtype=np.float32) for value in (x, maps))
    tsmi, maps = planes
    return PublishedData(tsmi, kspace.astype(np.complex64), maps, mask)


def read_pgdnet_subspace(path: str | Path) -> np.ndarray:
    """``V`` (N, s) of PGD-Net's ``pytorch_Ramp2D_..._trainingset.mat``, of LRTV's ``dictSVD.mat`` or of ``MRFResnet_AE.mat``."""
    content = load_arrays(path)
    for name in ("V", "dict.V", "nn.V"):
        if name in content:
            basis = np.asarray(content[name])
            basis = basis[..., 0] + 1j * basis[..., 1] if basis.ndim == 3 and basis.shape[-1] == 2 else basis
            if basis.ndim != 2 or basis.shape[0] < basis.shape[1]:
                raise UserError(f"{path}: {name} has shape {basis.shape}, expected (frames, components)")
            return basis
    raise UserError(
        f"{path} has no subspace V (it has {', '.join(content)}): it is no subspace file of PGD-Net or LRTV"
    )
