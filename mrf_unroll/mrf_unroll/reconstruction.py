"""Reconstruct a scan: from its file to maps, a report and a picture."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mrf_unroll import figures
from mrf_unroll.arrays import file_digest
from mrf_unroll.data.maps import write_maps
from mrf_unroll.data.scans import Scan, read_scan
from mrf_unroll.dictionary import Dictionary, log_grid
from mrf_unroll.evaluation import title
from mrf_unroll.measurements import in_own_unit, measurements, with_fewer_coils
from mrf_unroll.methods import DEFAULTS, Classical, Learnt
from mrf_unroll.metrics import data_consistency
from mrf_unroll.operators import KernelCache
from mrf_unroll.pretrained import BASELINES, Trained, load_with_baselines, network_digest
from mrf_unroll.protocol import Protocol, ProtocolOptions, same_positions, tensor_hash
from mrf_unroll.reconstructor import Reconstructor
from mrf_unroll.report import (
    IN_MS,
    errors_in_ms,
    explains,
    fingerprint_residual,
    object_mask,
    read_reference,
    scaled_reference,
    statistics,
    verdict,
)
from shared_utils import UserError, checkpoint, files

log = logging.getLogger(__name__)

FILES = ("maps.npz", "maps.png", "report.json")


@dataclass(frozen=True)
class Settings:
    """What a reconstruction depends on beside the scan; all of it describes the job on disk.

    Args:
        method: ``unrolled`` or a network trained beside it (``unet``), ``svd_mrf``, ``low_rank``, ``lrtv``, ``pnp_admm``,
            ``mrfresnet``.
        ckpt: the network, see ``pretrained.load``.
        dictionary: a file, for the classical methods; built for the scan's own schedule where None.
        rank: components of a dictionary that is built.
        density: ``spiral``, ``radial``, ``pipe_menon`` or ``none``, before the weights in the scan; without either, those of
            the network's training, or spiral.
        options: of a classical method.
        gain: see ``Reconstructor.reconstruct``.
        coils: reduce the scan to so many virtual coils.
        reference: a file of maps to compare with, in ``unit_t``.
    """

    method: str = "unrolled"
    ckpt: str | Path | None = None
    dictionary: str | Path | None = None
    rank: int = 10
    density: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    gain: float | None = None
    coils: int | None = None
    reference: str | Path | None = None
    unit_t: str | None = None

    def __post_init__(self) -> None:
        if (
            self.rank < 1
            or (self.gain is not None and not self.gain > 0)
            or (self.coils is not None and self.coils < 1)
        ):
            raise UserError("rank and coils must be at least 1, gain above 0")


@dataclass(frozen=True)
class Result:
    """maps: (3, H, W), T1 [s], T2 [s], PD. mask: (H, W), of the object. truth: (3, H, W) where one is known."""

    maps: Tensor
    mask: Tensor
    truth: Tensor | None
    report: dict[str, Any]

    def as_arrays(self) -> dict[str, Any]:
        """The arrays of a part of a job."""
        truth = {} if self.truth is None else {"truth": self.truth}
        return {"maps": self.maps, "mask": self.mask, "report": json.dumps(self.report), **truth}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Result:
        """The result of what ``as_arrays`` gave."""
        truth = torch.from_numpy(arrays["truth"]) if "truth" in arrays else None
        maps, mask = (torch.from_numpy(arrays[name]) for name in ("maps", "mask"))
        return cls(maps, mask, truth, json.loads(str(arrays["report"])))

    def write(self, folder: Path) -> None:
        """maps.npz (ms), maps.png and report.json, the report last."""
        t1_ms, t2_ms, density = (IN_MS * self.maps).numpy()
        write_maps(folder / FILES[0], t1_ms, t2_ms, density, self.mask.numpy())
        figures.map_grid(folder / FILES[1], self.truth, self.mask, {title(self.report["method"]): self.maps})
        files.write_json(self.report, folder / FILES[2])


class Clock:
    """Wall-clock seconds by stage."""

    def __init__(self, seconds: Mapping[str, float] | None = None) -> None:
        self.seconds = dict(seconds or {})

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[stage] = round(self.seconds.get(stage, 0.0) + time.perf_counter() - start, 4)


class ScanReconstructor:
    """A method made ready for scans: networks are loaded once, kernels and dictionaries kept while scans share them."""

    def __init__(self, settings: Settings, device: str | torch.device = "cpu") -> None:
        self.settings, self.device = settings, device
        self.trained: Trained | None = None
        self.stored = None if settings.dictionary is None else Dictionary.load(settings.dictionary)
        self._kernels = KernelCache()
        self._built: Dictionary | None = None
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
        for name in ("dictionary", "reference"):
            path = described[name]
            described[name] = None if path is None else file_digest(path)
        network = None
        if self.trained is not None:
            method = self.settings.method
            network = self.trained.network_of(method) or self.trained.networks.get(method)
        described["ckpt"] = None if network is None else network_digest(network)
        return described

    def check(self, scan: Scan, source: str | Path) -> None:
        """Raise UserError where the scan does not fit the network or the dictionary."""
        settings = self.settings
        if self.stored is not None and self.stored.sequence_hash != scan.sequence.hash:
            raise UserError(
                f"{settings.dictionary} is of another schedule than {source} was acquired with: build one for it"
            )
        if self.trained is not None:
            self.trained.unrolled.check_sequence(scan.sequence, str(source))
            if self.stored is not None and settings.method in self.trained.networks:
                self.trained.networks[settings.method].check_basis(self.stored.basis, str(settings.dictionary))
        if settings.coils is not None and settings.coils > len(scan.kspace):
            raise UserError(f"{source} has {len(scan.kspace)} coils: --coils {settings.coils} is more than there are")
        if settings.reference is not None:
            read_reference(settings.reference, settings.unit_t, scan.image_size)

    def __call__(self, path: str | Path) -> Result:
        """Reconstruct a scan file. Raises UserError where it cannot be read, does not fit, or gives nothing finite."""
        settings, clock, warnings = self.settings, Clock(self._loading), []
        with clock("read"):
            scan = read_scan(path)
            self.check(scan, path)
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
                f"{path}: the reconstruction is not finite: check the scale of kspace and of the density weights"
            )
        misfit = float(data_consistency(measured.operator(found.tsmi), measured.kspace))
        residual = fingerprint_residual(found.tsmi[0], _atoms(method))
        if not explains(misfit, residual):
            warnings.append(verdict(misfit, residual))
        maps = found.maps[0].cpu() * torch.tensor([1.0, 1.0, unit])[:, None, None]
        mask, truth = object_mask(maps[2]), None
        report = {
            "scan": str(path),
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
            "verdict": verdict(misfit, residual),
            "operator_norm": measured.lipschitz,
            "real_time_series": measured.real,
            "rotation_deg": float(torch.rad2deg(measured.rotation.angle())) if measured.real else 0.0,
            "seconds": clock.seconds,
            "units": {"T1": "ms", "T2": "ms", "PD": "units of the scan"},
            "statistics": statistics(maps, mask),
            "warnings": warnings,
        }
        if settings.reference is not None:
            truth, mask = read_reference(settings.reference, settings.unit_t, scan.image_size)
            truth, report["reference_pd_scaled_by"] = scaled_reference(maps, truth, mask)
            report["errors"] = errors_in_ms(maps, truth, mask)
        for warning in warnings:
            log.warning("%s: %s", path, warning)
        return Result(maps, mask, truth, report)

    def _method(self, scan: Scan, unit: float) -> tuple[Classical | Learnt, Tensor]:
        """The method, and the basis of its subspace."""
        settings, trained = self.settings, self.trained
        if trained is not None and settings.method in trained.networks:
            network = trained.networks[settings.method]
            gain = None if settings.gain is None else settings.gain / unit
            return Learnt(settings.method, network, gain), network.basis
        dictionary = self.stored or self._dictionary_of(scan)
        network = None if trained is None else trained.network_of(settings.method)
        return Classical(settings.method, dictionary, dict(settings.options), network), torch.as_tensor(
            dictionary.basis
        )

    def _dictionary_of(self, scan: Scan) -> Dictionary:
        if self._built is None or self._built.sequence_hash != scan.sequence.hash:
            rank = self.settings.rank if self.trained is None else self.trained.unrolled.options["rank"]
            self._built = Dictionary.build(scan.sequence, log_grid(100, 100, (100, 5000), (10, 1200)), rank)
        return self._built

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
    relaxation = torch.as_tensor(log_grid(40, 40, (100, 5000), (10, 1200))).float() / 1000
    with torch.no_grad():
        return method.reconstructor.network.decoder.cpu().atoms(relaxation[:, :, None, None])[..., 0, 0]
