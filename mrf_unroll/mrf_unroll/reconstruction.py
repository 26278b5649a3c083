"""Reconstruct a scan: from its file to maps, a report and a picture."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from mrf_unroll.arrays import file_digest
from mrf_unroll.data.acquisitions import read_acquisition, volume_affine
from mrf_unroll.data.maps import read_b1
from mrf_unroll.data.scans import Scan
from mrf_unroll.dictionary import Dictionary, log_grid, named_grid
from mrf_unroll.measurements import in_own_unit, measurements, schedule_residual, with_fewer_coils
from mrf_unroll.methods import DEFAULTS, Classical, Learnt
from mrf_unroll.metrics import data_consistency
from mrf_unroll.operators import KernelCache
from mrf_unroll.outputs import Result, check_also
from mrf_unroll.phantom import compared_vials, read_vials
from mrf_unroll.pretrained import BASELINES, Trained, load_with_baselines, network_digest
from mrf_unroll.protocol import Protocol, ProtocolOptions, same_positions, tensor_hash
from mrf_unroll.reconstructor import Reconstructor
from mrf_unroll.report import (
    errors_in_ms,
    explains,
    fingerprint_residual,
    object_mask,
    read_reference,
    scaled_reference,
    statistics,
    verdict,
)
from mrf_unroll.sequence import Sequence as Schedule
from mrf_unroll.uncertainty import factors_of, map_deviations, tangents
from shared_utils import UserError, checkpoint

log = logging.getLogger(__name__)

# Transmit fields between the least and the largest of a map whose signals a basis holds.
_FIELDS = 5
# Cycles per pixel. Trajectories that end below do not resolve the voxels, or are not in cycles per pixel.
_REACH = 0.42
# T1 and T2 of dictionaries that are built here.
_RANGES_MS = (100.0, 5000.0), (10.0, 1200.0)


@dataclass(frozen=True)
class Settings:
    """What a reconstruction depends on beside the scan; all of it describes the job on disk.

    Args:
        method: ``unrolled`` or a network trained beside it (``unet``), ``svd_mrf``, ``low_rank``, ``lrtv``, ``pnp_admm``,
            ``mrfresnet``.
        ckpt: the network, see ``pretrained.load``.
        dictionary: a file, for the classical methods; built for the scan's own schedule where None.
        rank, grid: components, and T1 and T2 (``named_grid``), of a dictionary that is built.
        density: ``spiral``, ``radial``, ``pipe_menon`` or ``none``, before the weights in the scan; without either, those of
            the network's training, or spiral.
        options: of a classical method.
        gain: see ``Reconstructor.reconstruct``.
        coils: reduce the scan to so many virtual coils.
        reference: a file of maps to compare with, in ``unit_t``.
        seq: a Pulseq file with the schedule and the trajectory of ISMRMRD scans.
        b1: a file with the transmit field B1, for scans that do not hold it.
        phantom: a file of reference values, see ``phantom.read_vials``.
        kernels: a folder where the kernels of acquisitions are kept for later.
        also: further outputs, see ``outputs.ALSO``.
    """

    method: str = "unrolled"
    ckpt: str | Path | None = None
    dictionary: str | Path | None = None
    rank: int = 10
    grid: str = "100x100"
    density: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    gain: float | None = None
    coils: int | None = None
    reference: str | Path | None = None
    unit_t: str | None = None
    seq: str | Path | None = None
    b1: str | Path | None = None
    phantom: str | Path | None = None
    kernels: str | Path | None = None
    also: Sequence[str] = ()

    def __post_init__(self) -> None:
        check_also(self.also)
        named_grid(self.grid, *_RANGES_MS)
        if (
            self.rank < 1
            or (self.gain is not None and not self.gain > 0)
            or (self.coils is not None and self.coils < 1)
        ):
            raise UserError("rank and coils must be at least 1, gain above 0")


class Clock:
    """Wall-clock seconds by stage."""

    def __init__(self, seconds: Mapping[str, float] | None = None) -> None:
        self.seconds = dict(seconds or {})

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[stage] = round(self.seconds.get(stage, 0.0) + time.perf_counter() - start, 4)


class _Slice(NamedTuple):
    """One slice of a ``Result``."""

    maps: Tensor
    mask: Tensor
    truth: Tensor | None
    deviations: Tensor | None
    series: Tensor
    basis: Tensor
    report: dict[str, Any]


class ScanReconstructor:
    """A method made ready for scans: networks are loaded once, kernels and dictionaries kept while scans share them."""

    def __init__(self, settings: Settings, device: str | torch.device = "cpu") -> None:
        self.settings, self.device = settings, device
        self.trained: Trained | None = None
        self.stored = None if settings.dictionary is None else Dictionary.load(settings.dictionary)
        self._kernels = KernelCache(settings.kernels)
        self._built: tuple[tuple[str, tuple[float, ...]], Dictionary] | None = None
        self._table: tuple[Schedule, Tensor] | None = None
        clock, method = Clock(), settings.method
        with clock("model"):
            if method not in DEFAULTS or method in ("mrfresnet", "pnp_admm"):
                self.trained = load_with_baselines(settings.ckpt)
        self._loading = clock.seconds
        if method in DEFAULTS:
            Classical.check_options(method, settings.options)
            if self.trained is not None and self.trained.network_of(method) is None:
                raise UserError(
                    f"{method} needs its network in {BASELINES}/ beside the checkpoint: train with BaselineNetworks"
                )
        elif self.trained is not None and method not in self.trained.networks:
            raise UserError(f"no method {method} here: there are {', '.join([*self.trained.networks, *DEFAULTS])}")
        elif settings.options:
            raise UserError(f"{method} takes no options, got {', '.join(settings.options)}")

    @cached_property
    def job(self) -> dict[str, Any]:
        """Everything that results depend on beside the scans, in plain values; files and weights by their digests."""
        described = asdict(self.settings)
        described["also"] = list(described["also"])
        del described["kernels"]
        for name in ("dictionary", "reference", "seq", "b1", "phantom"):
            path = described[name]
            described[name] = None if path is None else file_digest(path)
        network = None
        if self.trained is not None:
            method = self.settings.method
            network = self.trained.network_of(method) or self.trained.networks.get(method)
        described["ckpt"] = None if network is None else network_digest(network)
        return described

    def read(self, path: str | Path) -> list[Scan]:
        """The slices of a scan file, with their transmit field.

        Raises:
            UserError: where it cannot be read, or does not fit the network, the dictionary, or what is asked for.
        """
        settings = self.settings
        slices = read_acquisition(path, settings.seq)
        if settings.b1 is not None:
            fields = read_b1(settings.b1)
            if len(fields) != len(slices) or fields.shape[1:] != slices[0].image_size:
                raise UserError(
                    f"{settings.b1}: B1 has shape {fields.shape}, {path} {len(slices)} slices of {slices[0].image_size}:"
                    " they must agree"
                )
            slices = [replace(one, b1=field) for one, field in zip(slices, fields, strict=True)]
        for one in slices:
            self.check(one, path)
        if {"nifti", "dicom"} & set(settings.also):
            place = volume_affine(slices)
            if place is None and "dicom" in settings.also:
                raise UserError(f"{path} does not say where its slices lie, which DICOM needs: ask for nifti")
        if len(slices) > 1 and (settings.reference is not None or settings.phantom is not None):
            raise UserError(f"{path} has {len(slices)} slices: --reference and --phantom are for one")
        return slices

    def check(self, scan: Scan, source: str | Path) -> None:
        """Raise UserError where a slice does not fit the network or the dictionary."""
        settings = self.settings
        if self.stored is not None and not self.stored.sequence.same_as(scan.sequence):
            raise UserError(
                f"{settings.dictionary} is of another schedule than {source} was acquired with: build one for it"
            )
        if self.trained is not None:
            self.trained.unrolled.check_sequence(scan.sequence, str(source))
            if self.stored is not None and settings.method in self.trained.networks:
                self.trained.networks[settings.method].check_basis(self.stored.basis, str(settings.dictionary))
        if scan.b1 is not None and (self.trained is not None or self.stored is not None):
            given = settings.method if self.trained is not None else "--dictionary"
            raise UserError(
                f"{source} has a B1 map, which {given} was not made with: use --method low_rank, llr, lrtv or svd_mrf without"
                " --dictionary, or leave B1 out"
            )
        if settings.coils is not None and settings.coils > len(scan.kspace):
            raise UserError(f"{source} has {len(scan.kspace)} coils: --coils {settings.coils} is more than there are")
        if settings.reference is not None:
            read_reference(settings.reference, settings.unit_t, scan.image_size)
        if settings.phantom is not None:
            read_vials(settings.phantom, scan.image_size)

    def __call__(self, path: str | Path) -> Result:
        """Reconstruct the slices of a scan file. Raises UserError as ``read``, and where one gives nothing finite."""
        clock = Clock(self._loading)
        with clock("read"):
            slices = self.read(path)
        found = [
            self._slice(one, str(path) if len(slices) == 1 else f"{path}, slice {place}", clock)
            for place, one in enumerate(slices)
        ]
        reports = [one.report for one in found]
        report = reports[0]
        if len(reports) > 1:
            worst = max(reports, key=lambda own: max(own["data_consistency"], own["fingerprint_residual"]))
            shared = ("method", "options", "checkpoint", "checkpoint_sha256", "sequence_sha256", "image_size", "units")
            report = {
                "scan": str(path),
                **{name: report[name] for name in shared},
                "verdict": f"slice {reports.index(worst)}, the worst of {len(reports)}: {worst['verdict']}",
                "warnings": sorted({warning for own in reports for warning in own["warnings"]}),
                "slices": reports,
            }
        for warning in report["warnings"]:
            log.warning("%s: %s", path, warning)

        def stacked(values: list[Tensor | None]) -> Tensor | None:
            known = [value for value in values if value is not None]
            return torch.stack(known) if len(known) == len(values) else None

        truth, deviations = stacked([one.truth for one in found]), stacked([one.deviations for one in found])
        maps, mask = torch.stack([one.maps for one in found]), torch.stack([one.mask for one in found])
        series, place = torch.stack([one.series for one in found]), volume_affine(slices, strict=False)
        return Result(maps, mask, truth, deviations, series, found[0].basis, place, report)

    def _slice(self, scan: Scan, source: str, clock: Clock) -> _Slice:
        """One slice."""
        settings, warnings = self.settings, []
        scan, unit = in_own_unit(scan)
        scan = scan if settings.coils is None else with_fewer_coils(scan, settings.coils)
        with clock("dictionary"):
            method, basis = self._method(scan, unit)
        with clock("operator"):
            network = method.reconstructor if isinstance(method, Learnt) else None
            needs_real = network is not None and not network.options["complex_valued"]
            measured = measurements(
                scan, basis, _atoms(method), self._density(scan), needs_real, self._kernels, self.device
            )
            if needs_real and measured.has_phase:
                warnings.append(
                    f"the object has a phase ({100 * measured.imaginary:.0f} % of its energy is imaginary), which this"
                    " network of real time series drops: use one trained with complex_valued, or --method low_rank"
                )
        if isinstance(method, Learnt):
            method.trained_trajectory = is_trained_trajectory(method.reconstructor, torch.from_numpy(scan.trajectory))
            if not method.trained_trajectory:
                warnings.append("the trajectory is not that of the training: the encoder has not seen its artefacts")
            method.reconstructor.to(self.device)
        with clock("reconstruction"):
            found = method(measured.adjoint, measured.normal, measured.lipschitz)
        if not torch.isfinite(found.maps).all():
            raise UserError(
                f"{source}: the reconstruction is not finite: check the scale of kspace and of the density weights"
            )
        misfit = float(data_consistency(measured.operator(found.tsmi), measured.kspace))
        residual = fingerprint_residual(found.tsmi[0], _atoms(method))
        outside = schedule_residual(scan)
        words = verdict(misfit, residual, outside)
        if not explains(misfit, residual, outside):
            warnings.append(words)
        reach = float(np.abs(scan.trajectory).max())
        if reach < _REACH:
            side = scan.image_size[0]
            warnings.append(
                f"the samples reach {reach:.2f} of the 0.5 cycles per pixel that {side} voxels a side resolve: take"
                f" {round(2 * reach * side)} voxels a side, or check the scale of traj"
            )
        maps = found.maps[0].cpu() * torch.tensor([1.0, 1.0, unit])[:, None, None]
        mask, truth = object_mask(maps[2]), None
        report = {
            "scan": source,
            "method": settings.method,
            "options": {} if isinstance(method, Learnt) else dict(method.options),
            "checkpoint": None
            if network is None
            else str(settings.ckpt or "the network that is bundled with the package"),
            "checkpoint_sha256": None if network is None else checkpoint.weights_digest(network),
            "sequence_sha256": scan.sequence.hash,
            "image_size": list(scan.image_size),
            "data_consistency": misfit,
            "fingerprint_residual": residual,
            "schedule_residual": outside,
            "reach": reach,
            "verdict": words,
            "operator_norm": measured.lipschitz,
            "real_time_series": measured.real,
            "rotation_deg": float(torch.rad2deg(measured.rotation.angle())) if measured.real else 0.0,
            "seconds": clock.seconds,
            "units": {"T1": "ms", "T2": "ms", "PD": "units of the scan"},
            "statistics": statistics(maps, mask),
            "warnings": warnings,
        }
        with clock("uncertainty"):
            deviations = self._deviations(scan, found.tsmi[0], found.maps[0], mask, basis)
        if deviations is not None:
            deviations = deviations * torch.tensor([1.0, 1.0, unit])[:, None, None]
            report["deviations"] = statistics(deviations, mask)
        if settings.reference is not None:
            truth, mask = read_reference(settings.reference, settings.unit_t, scan.image_size)
            truth, report["reference_pd_scaled_by"] = scaled_reference(maps, truth, mask)
            report["errors"] = errors_in_ms(maps, truth, mask)
        if settings.phantom is not None:
            report["phantom"] = compared_vials(maps, read_vials(settings.phantom, scan.image_size))
        series = (found.tsmi[0] * measured.rotation.conj() if measured.real else found.tsmi[0]).cpu()
        return _Slice(maps, mask, truth, deviations, unit * series, basis, report)

    def _deviations(self, scan: Scan, series: Tensor, maps: Tensor, mask: Tensor, basis: Tensor) -> Tensor | None:
        """Of the maps in the mask; None with a B1 map, and where the rank is too low."""
        if scan.b1 is not None or basis.shape[1] < 4:
            return None
        if self._table is None or not self._table[0].same_as(scan.sequence):
            self._table = (scan.sequence, tangents(scan.sequence, basis))
        return map_deviations(series, maps, mask, self._table[1], factors_of(self.settings.method))

    def _method(self, scan: Scan, unit: float) -> tuple[Classical | Learnt, Tensor]:
        """The method, and the basis of its subspace."""
        settings, trained = self.settings, self.trained
        if trained is not None and settings.method in trained.networks:
            network = trained.networks[settings.method]
            gain = None if settings.gain is None else settings.gain / unit
            return Learnt(settings.method, network, gain), network.basis
        dictionary = self.stored or self._dictionary_of(scan)
        network = None if trained is None else trained.network_of(settings.method)
        b1 = None if scan.b1 is None else torch.from_numpy(scan.b1)
        method = Classical(settings.method, dictionary, dict(settings.options), network, b1)
        return method, torch.as_tensor(dictionary.basis)

    def _dictionary_of(self, scan: Scan) -> Dictionary:
        fields: tuple[float, ...] = ()
        if scan.b1 is not None:
            fields = tuple(np.round(np.linspace(scan.b1.min(), scan.b1.max(), _FIELDS), 3).tolist())
        if self._built is None or self._built[0] != (scan.sequence.hash, fields):
            rank = self.settings.rank if self.trained is None else self.trained.unrolled.options["rank"]
            built = Dictionary.build(scan.sequence, named_grid(self.settings.grid, *_RANGES_MS), rank, b1=fields)
            self._built = ((scan.sequence.hash, fields), built)
        return self._built[1]

    def _density(self, scan: Scan) -> str | None:
        """The kind of weights to compute; None for those of the scan."""
        if self.settings.density is not None:
            return self.settings.density
        if scan.dcf is not None:
            return None
        return "spiral" if self.trained is None else self.trained.unrolled.options["density"]


def is_trained_trajectory(network: Reconstructor, positions: Tensor) -> bool:
    """Whether a network was trained with these sampling positions (N, P, 2), but for rounding; True where it is not known."""
    options = network.options
    if options["trajectory_sha256"] in (None, tensor_hash(positions)):
        return True
    if options["data"] is None:
        return False
    trained = ProtocolOptions(**options["data"]["protocol"])
    if Path(trained.trajectory).suffix and not Path(trained.trajectory).is_file():
        return False  # a file that is not here
    protocol = Protocol(trained)
    return not protocol.cartesian and same_positions(protocol.trajectory, positions)


def _atoms(method: Classical | Learnt) -> Tensor:
    """(K, s) of a method: of its dictionary, thinned, or of its network's decoder on a coarse grid."""
    if isinstance(method, Classical):
        atoms = torch.as_tensor(method.dictionary.atoms)
        return atoms[:: max(1, len(atoms) // 1000)]
    relaxation = torch.as_tensor(log_grid(40, 40, *_RANGES_MS)).float() / 1000
    with torch.no_grad():
        return method.reconstructor.network.decoder.cpu().atoms(relaxation[:, :, None, None])[..., 0, 0]
