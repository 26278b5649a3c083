"""ISMRMRD files (the vendor-neutral raw data of MR scanners), read as scans, and written of simulated ones.

Needs the package ``ismrmrd`` (the extra ``formats``).
"""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mrf_unroll.data.geometry import Geometry
from mrf_unroll.data.pulseq_files import Played, read_pulseq
from mrf_unroll.data.scans import Scan, check_samples, check_trajectory
from mrf_unroll.sequence import Sequence as Schedule
from shared_utils import UserError, files

log = logging.getLogger(__name__)

_GROUP = "dataset"
# What is not part of the image, by the names of the format's flags.
_SKIPPED = (
    "ACQ_IS_DUMMYSCAN_DATA",
    "ACQ_IS_NAVIGATION_DATA",
    "ACQ_IS_PHASECORR_DATA",
    "ACQ_IS_PARALLEL_CALIBRATION",
    "ACQ_IS_HPFEEDBACK_DATA",
    "ACQ_IS_RTFEEDBACK_DATA",
    "ACQ_IS_SURFACECOILCORRECTIONSCAN_DATA",
)
_SAME_POSITION = 1e-4


def _package() -> Any:
    try:
        import ismrmrd
        import ismrmrd.xsd
    except ImportError:
        raise UserError(
            "an ISMRMRD file needs the package ismrmrd: pip install 'tenpapers-mrf-unroll[formats]', or pip install ismrmrd"
        ) from None
    return ismrmrd


def is_ismrmrd(path: str | Path) -> bool:
    """Whether a file is HDF5 with ISMRMRD's group in it."""
    import h5py

    if not Path(path).is_file() or not h5py.is_hdf5(path):
        return False
    with h5py.File(path) as file:
        group = file.get(_GROUP)
        return isinstance(group, h5py.Group) and "xml" in group and "data" in group


@contextlib.contextmanager
def _opened(path: str | Path, create: bool) -> Iterator[Any]:
    dataset = _package().Dataset(str(path), _GROUP, create_if_needed=create)
    try:
        yield dataset
    finally:
        dataset.close()


def read_ismrmrd(path: str | Path, seq: str | Path | None = None) -> list[Scan]:
    """The slices of an ISMRMRD file, each with its place in the patient.

    Acquisitions of a slice are its repetitions in the order of the file. Partitions (kspace_encode_step_2, a stack of
    spirals) become slices by a Fourier transform. Noise acquisitions whiten the coils. What is flagged as navigator,
    dummy, calibration or feedback is left out. Trajectories are taken as cycles per pixel.

    Args:
        seq: a Pulseq file with the schedule and the trajectory; without it they are those of the file: one flip angle a
            repetition in the header's sequenceParameters (degrees, ms), ``traj`` with every acquisition.

    Raises:
        UserError: where the package is missing, and where the file, or the two of them, do not fit together.
    """
    package = _package()
    try:
        with _opened(path, create=False) as dataset, warnings.catch_warnings():
            warnings.simplefilter("error")  # what the header's schema does not allow
            header = package.xsd.CreateFromDocument(dataset.read_xml_header())
            acquisitions = [dataset.read_acquisition(n) for n in range(dataset.number_of_acquisitions())]
    except Exception as error:  # the package raises whatever HDF5 and XML meet
        raise UserError(f"{path} cannot be read as ISMRMRD ({error or type(error).__name__})") from error
    encoding = header.encoding[0]
    size, fov = encoding.reconSpace.matrixSize, encoding.reconSpace.fieldOfView_mm
    image_size, fov_mm = (int(size.y), int(size.x)), (float(fov.y), float(fov.x))
    noise = [one for one in acquisitions if one.is_flag_set(package.ACQ_IS_NOISE_MEASUREMENT)]
    skipped = [getattr(package, name) for name in (*_SKIPPED, "ACQ_IS_NOISE_MEASUREMENT")]
    kept = [one for one in acquisitions if not any(one.is_flag_set(flag) for flag in skipped)]
    if not kept:
        raise UserError(f"{path} has no acquisition of an image (of {len(acquisitions)} in all)")
    played = None if seq is None else read_pulseq(seq, image_size, fov_mm)
    groups: dict[tuple[int, int], list[Any]] = {}
    for one in kept:
        groups.setdefault((one.idx.slice, one.idx.kspace_encode_step_2), []).append(one)
    mix, deviation = _whitening(noise, kept[0], path)
    slices: list[Scan] = []
    for number in sorted({key[0] for key in groups}):
        partitions = [groups[key] for key in sorted(groups) if key[0] == number]
        arrays = [_samples(own, mix, path) for own in partitions]
        if len({kspace.shape for kspace, _ in arrays}) > 1:
            raise UserError(
                f"{path}: the partitions of slice {number} have different numbers of repetitions or samples"
            )
        positions = _trajectory([traj for _, traj in arrays], played, path)
        kspace = np.stack([kspace for kspace, _ in arrays])
        if played is not None:
            kspace = kspace * _receiver(played, kspace.shape[2], seq, path)[:, None]
        schedule = _schedule(header, kspace.shape[2], path) if played is None else played.sequence
        if len(schedule) != kspace.shape[2] or positions.shape[:2] != kspace.shape[2:]:
            raise UserError(
                f"{path}: slice {number} has {kspace.shape[2]} repetitions of {kspace.shape[3]} samples,"
                f" {seq or 'its header'} {len(schedule)} pulses and {positions.shape[1]} samples: they must agree"
            )
        count = len(partitions)
        thickness = float(fov.z) / max(int(size.z), 1) if count > 1 else float(fov.z)
        spacing = (fov_mm[0] / image_size[0], fov_mm[1] / image_size[1], thickness)
        place = _geometry(partitions[0][0], spacing)
        for partition, samples in enumerate(_separated(kspace)):
            check_samples(samples, path)
            geometry = None if place is None else place.shifted((partition - count // 2) * thickness)
            slices.append(Scan(samples, positions, image_size, schedule, None, None, deviation, geometry=geometry))
    return slices


def _samples(acquisitions: Sequence[Any], mix: np.ndarray | None, path: str | Path) -> tuple[np.ndarray, np.ndarray]:
    """(C, N, P) k-space and (N, P, D) positions of one slice or partition, whitened, without discarded samples."""
    kept = [slice(one.discard_pre, one.number_of_samples - one.discard_post) for one in acquisitions]
    data = [one.data[:, own] for one, own in zip(acquisitions, kept, strict=True)]
    if len({value.shape for value in data}) > 1:
        raise UserError(f"{path}: the acquisitions of a slice have different numbers of coils or samples")
    kspace = np.stack(data, axis=1).astype(np.complex64)
    if mix is not None:
        kspace = np.einsum("dc,cnp->dnp", mix, kspace).astype(np.complex64)
    return kspace, np.stack([one.traj[own] for one, own in zip(acquisitions, kept, strict=True)])


def _separated(kspace: np.ndarray) -> np.ndarray:
    """Partitions (K, C, N, P) as slices: the Fourier transform along the stack; the middle partition is k = 0."""
    if len(kspace) == 1:
        return kspace
    moved = np.fft.ifft(np.fft.ifftshift(kspace, axes=0), axis=0, norm="ortho")
    return np.fft.fftshift(moved, axes=0).astype(np.complex64)


def _trajectory(parts: Sequence[np.ndarray], played: Played | None, path: str | Path) -> np.ndarray:
    """(N, P, 2) of a slice: what is played, or what the file holds, which all partitions must share."""
    if played is not None:
        return played.trajectory
    if parts[0].shape[-1] < 2:
        raise UserError(f"{path} has no trajectory with its acquisitions: give the sequence by --seq")
    for other in parts[1:]:
        if np.abs(other[..., :2] - parts[0][..., :2]).max() > _SAME_POSITION:
            raise UserError(f"{path}: the partitions of a stack have different trajectories: only equal ones are read")
    return check_trajectory(parts[0][..., 1::-1], path)


def _receiver(played: Played, frames: int, seq: str | Path | None, path: str | Path) -> np.ndarray:
    """(N,) by which the phase of the receiver is taken out of the samples again."""
    if len(played.receiver_deg) != frames:
        raise UserError(
            f"{path} has {frames} repetitions a slice, {seq} plays {len(played.receiver_deg)}: they must agree"
        )
    return np.exp(1j * np.deg2rad(played.receiver_deg)).astype(np.complex64)


def _schedule(header: Any, frames: int, path: str | Path) -> Schedule:
    """The schedule in the header's sequenceParameters."""
    given = header.sequenceParameters
    angles = [] if given is None else list(given.flipAngle_deg)
    if given is None or len(angles) != frames or not given.TR or not given.TE:
        raise UserError(
            f"{path}: its header has {len(angles)} flip angles for {frames} repetitions: give the sequence by --seq"
        )
    if len(given.TI) > 1:
        raise UserError(f"{path}: its header has {len(given.TI)} inversion times: one inversion is understood")
    ti = float(given.TI[0]) if given.TI else None
    return Schedule.of(np.array(angles), np.array(given.TR), np.array(given.TE), ti)


def _geometry(acquisition: Any, spacing: Sequence[float]) -> Geometry | None:
    """Where a slice lies; None where the file does not say."""
    axes = [list(getattr(acquisition, name)) for name in ("read_dir", "phase_dir", "slice_dir")]
    if not np.abs(axes).max() > 0:
        return None
    return Geometry.of(list(acquisition.position), axes[0], axes[1], axes[2], spacing)


def _whitening(noise: Sequence[Any], like: Any, path: str | Path) -> tuple[np.ndarray | None, float | None]:
    """(C, C) that makes the coils' noise white, of the deviation that is returned with it; None without noise."""
    if not noise:
        return None, None
    samples = np.concatenate([one.data for one in noise], axis=1).astype(np.complex128)
    if len(samples) != len(like.data) or samples.shape[1] < 2 * len(samples):
        raise UserError(
            f"{path}: its noise has {samples.shape[1]} samples of {len(samples)} coils: too few to whiten by"
        )
    # The noise of a sample is that of its bandwidth.
    times = noise[0].sample_time_us, like.sample_time_us
    ratio = times[0] / times[1] if min(times) > 0 else 1.0
    covariance = ratio * (samples @ samples.conj().T) / samples.shape[1]
    try:
        mix = np.linalg.inv(np.linalg.cholesky(covariance))
    except np.linalg.LinAlgError:
        raise UserError(f"{path}: the noise of its coils has no inverse: a coil is dead or there twice") from None
    log.info("%s: coils whitened by %d noise samples", path, samples.shape[1])
    # In the unit of the data: the mean gain of whitening is taken out again.
    unit = float(np.sqrt(np.trace(covariance).real / len(covariance)))
    return unit * mix, unit / np.sqrt(2)


def write_ismrmrd(path: str | Path, scans: Sequence[Scan]) -> None:
    """Write slices that share a schedule, with their trajectory in cycles per pixel and their place in the patient.

    Raises:
        UserError: where the package is missing, and where a slice has no geometry.
    """
    package = _package()
    first = scans[0]
    if any(one.geometry is None for one in scans):
        raise UserError("an ISMRMRD file needs the field of view of its scan")
    assert first.geometry is not None
    with files.replacing(path) as temporary, _opened(temporary, create=True) as dataset:
        dataset.write_xml_header(package.xsd.ToXML(_header(package, scans)))
        counter = 0
        for number, scan in enumerate(scans):
            for frame in range(scan.kspace.shape[1]):
                place = scan.geometry
                assert place is not None
                one = package.Acquisition.from_array(
                    np.ascontiguousarray(scan.kspace[:, frame], dtype=np.complex64),
                    np.ascontiguousarray(scan.trajectory[frame, :, ::-1], dtype=np.float32),
                )
                one.scan_counter, one.idx.slice, one.idx.repetition = counter, number, frame
                for name in ("position", "read_dir", "phase_dir", "slice_dir"):
                    value = {"read_dir": place.column, "phase_dir": place.row, "slice_dir": place.normal}
                    getattr(one, name)[:] = [float(v) for v in value.get(name, place.position)]
                dataset.append_acquisition(one)
                counter += 1


def _header(package: Any, scans: Sequence[Scan]) -> Any:
    xsd, first = package.xsd, scans[0]
    assert first.geometry is not None
    height, width = first.image_size
    down, across, thick = first.geometry.spacing.tolist()
    space = xsd.encodingSpaceType(
        matrixSize=xsd.matrixSizeType(x=width, y=height, z=1),
        fieldOfView_mm=xsd.fieldOfViewMm(x=width * across, y=height * down, z=thick),
    )
    limits = xsd.encodingLimitsType(
        repetition=xsd.limitType(minimum=0, maximum=first.kspace.shape[1] - 1, center=0),
        slice=xsd.limitType(minimum=0, maximum=len(scans) - 1, center=0),
    )
    schedule = first.sequence
    return xsd.ismrmrdHeader(
        experimentalConditions=xsd.experimentalConditionsType(H1resonanceFrequency_Hz=123_200_000),
        acquisitionSystemInformation=xsd.acquisitionSystemInformationType(receiverChannels=len(first.kspace)),
        encoding=[
            xsd.encodingType(
                encodedSpace=space, reconSpace=space, encodingLimits=limits, trajectory=xsd.trajectoryType.SPIRAL
            )
        ],
        sequenceParameters=xsd.sequenceParametersType(
            TR=schedule.tr_ms.tolist(),
            TE=schedule.te_ms.tolist(),
            TI=[] if schedule.ti_ms is None else [schedule.ti_ms],
            flipAngle_deg=schedule.fa_deg.tolist(),
        ),
    )
