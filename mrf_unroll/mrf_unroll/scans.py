"""Reconstruct scans: from a file to maps, a report and a picture."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.ndimage import binary_fill_holes
from torch import Tensor

from mrf_unroll import figures
from mrf_unroll.classical import conjugate_gradient
from mrf_unroll.coils import estimate_coil_maps
from mrf_unroll.data.slices import fit_to_size
from mrf_unroll.dictionary import Dictionary, log_grid
from mrf_unroll.evaluation import neighbours, title
from mrf_unroll.files import Scan, read_maps, read_scan, write_maps
from mrf_unroll.methods import DEFAULTS, Classical, Learnt
from mrf_unroll.metrics import data_consistency, map_errors
from mrf_unroll.operators import SubspaceOperator, ToeplitzNormal, operator_norm
from mrf_unroll.protocol import density_weights, tensor_hash
from mrf_unroll.reconstructor import Reconstructor
from shared_utils import UserError, checkpoint

log = logging.getLogger(__name__)

# Above this share of imaginary energy an object is held to have a phase: artefacts and noise alone leave up to 0.01, a phase
# of +-0.3 rad adds as much, one of a few radians makes 0.07 and more (procedural heads, 24 and 48 samples a frame).
_IMAGINARY = 0.04
_MASK_LEVEL = 0.1


def find_scans(scan: str | Path) -> list[Path]:
    """The scan files that ``scan`` means: itself, or all .npz, .h5 and .hdf5 in a folder. Raises UserError for none."""
    path = Path(scan)
    if not path.is_dir():
        return [path]
    names = [
        one
        for one in sorted(path.iterdir())
        if one.suffix in (".npz", ".h5", ".hdf5") and not one.name.endswith("_maps.npz")
    ]
    if not names:
        raise UserError(f"no scan (.npz, .h5) in the folder {path}")
    return names


class Clock:
    """Wall-clock seconds by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[stage] = round(self.seconds.get(stage, 0.0) + time.perf_counter() - start, 4)


def reconstruct_scan(
    path: str | Path,
    out: str | Path,
    method: str = "unrolled",
    ckpt: str | Path | None = None,
    dictionary: str | Path | None = None,
    rank: int = 10,
    density: str | None = None,
    options: dict[str, Any] | None = None,
    gain: float | None = None,
    reference: str | Path | None = None,
    unit_t: str | None = None,
    device: str | torch.device = "cpu",
) -> dict[str, Any]:
    """Reconstruct one scan into ``out``: maps.npz (ms), maps.png, report.json; returns the report.

    method: ``unrolled`` or a rival beside it (``unet``), ``svd_mrf``, ``low_rank``, ``lrtv``, ``pnp_admm``,
    ``mrfresnet``. ckpt: the network; the travelling one where None. dictionary: for the classical methods, built for the
    scan's own schedule with ``rank`` components where None. density: ``spiral``, ``radial``, ``pipe_menon`` or ``none``,
    before the weights in the scan; without either, those of the network's training, or spiral. options: of a
    classical method. gain: see ``Reconstructor.reconstruct``. reference: maps to hold the result against, in ``unit_t``.

    Raises UserError where the scan does not fit the network or the dictionary.
    """
    clock, warnings = Clock(), []
    with clock("read"):
        scan = read_scan(path)
    with clock("model"):
        networks, voxelwise, prior = {}, None, None
        if method not in DEFAULTS or method in ("mrfresnet", "pnp_admm"):
            networks, voxelwise, prior = neighbours(ckpt)
            if method not in (*networks, *DEFAULTS):
                raise UserError(f"no method {method} here: there are {', '.join([*networks, *DEFAULTS])}")
        chosen, basis = _choose(
            method, networks, voxelwise, prior, scan, str(path), dictionary, rank, options or {}, gain, clock
        )
    with clock("operator"):
        operator = scan_operator(scan, basis, _density(density, scan, networks), device)
        normal = ToeplitzNormal.from_operator(operator)
        kspace = torch.from_numpy(np.asarray(scan.kspace))[None].to(device)
        adjoint = operator.weighted_adjoint(kspace)
        rotation, imaginary = object_phase(adjoint, normal, _atoms(chosen))
        real = imaginary < _IMAGINARY
        if isinstance(chosen, Learnt) and not chosen.reconstructor.options["complex_valued"]:
            if not real:
                warnings.append(
                    f"the object has a phase ({100 * imaginary:.0f} % of its energy is imaginary), which this network of real"
                    " time series drops: use one trained with complex_valued, or --method low_rank"
                )
            real = True
        if real:
            kspace, adjoint = kspace * rotation, (adjoint * rotation).real
        lipschitz = float(operator_norm(normal, adjoint.shape[1:], dtype=adjoint.dtype))
    if isinstance(chosen, Learnt):
        trained_on = chosen.reconstructor.options["trajectory_sha256"]
        chosen.trained_trajectory = trained_on in (None, tensor_hash(torch.from_numpy(scan.trajectory)))
        if not chosen.trained_trajectory:
            warnings.append("the trajectory is not that of the training: steps are scaled to it, the encoder is not")
        chosen.reconstructor.to(device)
    with clock("reconstruction"):
        result = chosen(adjoint, normal, lipschitz)
    if not torch.isfinite(result.maps).all():
        raise UserError(
            f"{path}: the reconstruction is not finite: check the scale of kspace and of the density weights"
        )
    maps = result.maps[0].cpu()
    mask = object_mask(maps[2])
    consistency = float(data_consistency(operator(result.tsmi), kspace))
    report = {
        "scan": str(path),
        "method": method,
        "options": getattr(chosen, "options", {}) or {},
        "checkpoint": None
        if not isinstance(chosen, Learnt)
        else str(ckpt or "the network that travels with the package"),
        "checkpoint_sha256": state_hash(chosen.reconstructor) if isinstance(chosen, Learnt) else None,
        "sequence_sha256": scan.sequence.hash,
        "image_size": list(scan.image_size),
        "data_consistency": consistency,
        "operator_norm": lipschitz,
        "real_time_series": bool(real),
        "rotation_deg": float(torch.rad2deg(rotation.angle())) if real else 0.0,
        "seconds": clock.seconds,
        "units": {"T1": "ms", "T2": "ms", "PD": "units of the scan"},
        "statistics": statistics(maps, mask),
        "warnings": warnings,
    }
    truth = None
    if reference is not None:
        truth, inside = _reference(reference, unit_t, scan.image_size)
        factors = torch.tensor([1000.0, 1000.0, 1.0])[:, None, None]
        report["errors"] = map_errors((factors * maps)[None], (factors * truth)[None], inside[None])
        mask = inside
    for warning in warnings:
        log.warning("%s: %s", path, warning)
    out = Path(out)
    write_maps(
        out / "maps.npz",
        *(factor * one.numpy() for factor, one in zip((1000, 1000, 1), maps, strict=True)),
        mask.numpy(),
    )
    figures.map_grid(out / "maps.png", truth, mask, {title(method): maps})
    checkpoint.write_json(report, out / "report.json")
    return report


def _choose(
    method: str,
    networks: dict[str, Reconstructor],
    voxelwise: Any,
    prior: Any,
    scan: Scan,
    source: str,
    dictionary: str | Path | None,
    rank: int,
    options: dict[str, Any],
    gain: float | None,
    clock: Clock,
) -> tuple[Classical | Learnt, Tensor]:
    """The method, and the basis of its subspace."""
    stored = None
    if dictionary is not None:
        stored = Dictionary.load(dictionary)
        if stored.sequence_hash != scan.sequence.hash:
            raise UserError(f"{dictionary} is of another schedule than {source} was acquired with: build one for it")
    if method in networks:
        network = networks[method]
        network.check_sequence(scan.sequence, source)
        if stored is not None:
            network.check_basis(stored.basis, str(dictionary))
        return Learnt(method, network, gain), network.basis
    if method in ("mrfresnet", "pnp_admm"):
        network = networks["unrolled"]
        network.check_sequence(scan.sequence, source)
        beside = {"mrfresnet": voxelwise, "pnp_admm": prior}[method]
        if beside is None:
            raise UserError(f"{method} needs the network in rivals/ beside the checkpoint: train with RivalNetworks")
        rank = network.options["rank"]
    with clock("dictionary"):
        stored = stored or Dictionary.build(scan.sequence, log_grid(100, 100, (100, 5000), (10, 1200)), rank)
    network = {"mrfresnet": voxelwise, "pnp_admm": prior}.get(method)
    return Classical(method, stored, options, network), torch.as_tensor(stored.basis)


def _density(density: str | None, scan: Scan, networks: dict[str, Reconstructor]) -> str | None:
    """The kind of weights to compute; None for those of the scan."""
    if density is not None:
        return density
    if scan.dcf is not None:
        return None
    return networks["unrolled"].options["density"] if "unrolled" in networks else "spiral"


def scan_operator(scan: Scan, basis: Tensor, density: str | None, device: str | torch.device) -> SubspaceOperator:
    """A of a scan: its trajectory, the subspace, weights (its own for ``density`` None), coil maps (estimated where missing)."""
    positions = torch.from_numpy(np.asarray(scan.trajectory))
    if density is None:
        weights = torch.from_numpy(np.asarray(scan.dcf))
        weights = weights / weights.mean()
    else:
        weights = density_weights(density, positions, scan.image_size)
    maps = None
    if scan.coil_maps is not None:
        maps = torch.from_numpy(np.asarray(scan.coil_maps))
    elif len(scan.kspace) > 1:
        kspace = torch.from_numpy(np.asarray(scan.kspace))
        maps = estimate_coil_maps(kspace, positions, basis, scan.image_size, weights)
        log.info("coil maps estimated from the low frequencies of %d coils", len(kspace))
    return SubspaceOperator(positions, basis.cpu(), scan.image_size, maps, weights).to(device)


def object_phase(adjoint: Tensor, normal: Callable[[Tensor], Tensor], atoms: Tensor) -> tuple[Tensor, float]:
    """A unit number that turns the object's mean phase to zero, and what share of its energy is imaginary then.

    Judged on the complex PD of the best of ``atoms`` (K, s) for a low-rank reconstruction, in voxels of more than 0.3 of
    the largest norm.
    """
    series = conjugate_gradient(normal, adjoint, 0.0, 20).x[0].flatten(1).T
    norm = series.abs().square().sum(dim=1).sqrt()
    strong = series[norm > 0.3 * norm.max()]
    unit = (atoms / atoms.abs().square().sum(dim=1, keepdim=True).sqrt()).to(strong)
    density = torch.cat([_largest(part @ unit.conj().T) for part in strong.split(4096)])
    rotation = torch.polar(torch.ones((), device=density.device), -density.sum().angle())
    turned = density * rotation
    return rotation, float(turned.imag.square().sum() / turned.abs().square().sum())


def _largest(products: Tensor) -> Tensor:
    """The entry of largest magnitude in every row."""
    return products.gather(1, products.abs().argmax(dim=1, keepdim=True))[:, 0]


def _atoms(chosen: Classical | Learnt) -> Tensor:
    """(K, s) of a method: of its dictionary, thinned, or of its network's decoder on a coarse grid."""
    if isinstance(chosen, Classical):
        atoms = torch.as_tensor(chosen.dictionary.atoms)
        return atoms[:: max(1, len(atoms) // 1000)]
    relaxation = torch.as_tensor(log_grid(40, 40, (100, 5000), (10, 1200))).float() / 1000
    with torch.no_grad():
        return chosen.reconstructor.network.decoder.cpu().atoms(relaxation[:, :, None, None])[..., 0, 0]


def object_mask(density: Tensor) -> Tensor:
    """(H, W): PD above a tenth of its maximum (99.5th percentile), holes filled."""
    top = torch.quantile(density.flatten().float(), 0.995)
    return torch.from_numpy(binary_fill_holes((density > _MASK_LEVEL * top).numpy()))


def statistics(maps: Tensor, mask: Tensor) -> dict[str, dict[str, float]]:
    """Mean, standard deviation, median and 5th to 95th percentile of each map inside the mask; T1 and T2 in ms."""
    found: dict[str, dict[str, float]] = {"mask": {"voxels": int(mask.sum())}}
    for name, _, factor, *_ in figures.WINDOWS:
        place = ("T1", "T2", "PD").index(name)
        values = factor * maps[place][mask].double().numpy()
        if not values.size:
            found[name] = {}
            continue
        low, middle, high = np.percentile(values, (5, 50, 95))
        numbers = {"mean": values.mean(), "std": values.std(), "p5": low, "median": middle, "p95": high}
        found[name] = {key: round(float(value), 5) for key, value in numbers.items()}
    return found


def state_hash(reconstructor: Reconstructor) -> str:
    """SHA-256 of a network's weights and basis."""
    digest = hashlib.sha256()
    for name, value in sorted(reconstructor.state_dict().items()):
        digest.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _reference(path: str | Path, unit_t: str | None, image_size: Sequence[int]) -> tuple[Tensor, Tensor]:
    stored = read_maps(path, unit_t)
    maps = np.stack([stored.t1_s[0], stored.t2_s[0], stored.pd[0]]).astype(np.float32)
    if tuple(stored.mask.shape[1:]) != tuple(image_size):
        if image_size[0] != image_size[1]:
            raise UserError(f"{path} has shape {stored.mask.shape[1:]}, the scan reconstructs {tuple(image_size)}")
        maps, mask, _ = fit_to_size(maps, stored.mask[0], np.zeros_like(maps[0]), image_size[0], resample=True)
    else:
        mask = stored.mask[0]
    if not mask.any():
        raise UserError(f"{path}: the mask has no voxel")
    return torch.from_numpy(maps * mask), torch.from_numpy(mask)


def read_report(folder: str | Path) -> dict[str, Any] | None:
    """The report of a finished reconstruction in a folder; None where there is none."""
    path = Path(folder) / "report.json"
    return json.loads(path.read_text()) if path.is_file() else None
