"""From the samples of a scan to what every method takes: h = A^H W y, the normal operator and its norm."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from mrf_unroll.classical import conjugate_gradient
from mrf_unroll.coils import compress_coils, estimate_coil_maps
from mrf_unroll.data.scans import Scan
from mrf_unroll.dictionary import Dictionary, log_grid
from mrf_unroll.operators import KernelCache, SubspaceOperator, ToeplitzNormal, operator_norm
from mrf_unroll.protocol import density_weights

log = logging.getLogger(__name__)

# Above this share of imaginary energy an object is taken to have a phase: artefacts and noise alone leave up to 0.01, a
# phase of +-0.3 rad adds as much, one of a few radians makes 0.07 and more (procedural heads, 24 and 48 samples a frame).
_IMAGINARY = 0.04

# Cycles per field of view that count as the centre of k-space, and the components that signals there are projected on.
_CENTRE, _CENTRE_RANK = 0.1, 15
# A hundred repetitions know the energy of their noise to a fifth or so.
_MARGIN = 1.5
_DIFFERENCES = np.array([1.0, -4.0, 6.0, -4.0, 1.0])


@dataclass(frozen=True)
class Measurements:
    """A scan on a subspace.

    Args:
        kspace, adjoint: y (1, C, N, P) and h (1, s, H, W), both turned so that the object's mean phase is zero where the
            time series is ``real``.
        lipschitz: the norm of ``normal`` on such time series.
        rotation: by which both were turned.
        imaginary: the share of the object's energy that stays imaginary then.
    """

    operator: SubspaceOperator
    normal: ToeplitzNormal
    kspace: Tensor
    adjoint: Tensor
    lipschitz: float
    real: bool
    rotation: Tensor
    imaginary: float

    @property
    def has_phase(self) -> bool:
        """Whether the object has a phase that a real time series drops."""
        return self.imaginary >= _IMAGINARY


def measurements(
    scan: Scan,
    basis: Tensor,
    atoms: Tensor,
    density: str | None = None,
    force_real: bool = False,
    cache: KernelCache | None = None,
    device: str | torch.device = "cpu",
) -> Measurements:
    """What a scan measured of the time series in ``basis`` (N, s).

    Args:
        scan: k-space, trajectory, and coil maps and weights where there are any.
        basis: V.
        atoms: (K, s), some that tissue may have: the object's phase is found by them.
        density: kind of weights (``density_weights``); None for those of the scan.
        force_real: take a real time series although the object has a phase.
        cache: of kernels, for scans that share an acquisition.
        device: where the operators are applied.
    """
    operator = scan_operator(scan, basis, density, device)
    normal = ToeplitzNormal.from_operator(operator, cache)
    kspace = torch.from_numpy(np.asarray(scan.kspace))[None].to(device)
    adjoint = operator.weighted_adjoint(kspace)
    rotation, imaginary = object_phase(adjoint, normal, atoms)
    real = force_real or imaginary < _IMAGINARY
    if real:
        kspace, adjoint = kspace * rotation, (adjoint * rotation).real
    lipschitz = float(operator_norm(normal, (adjoint.shape[1], *scan.image_size), dtype=adjoint.dtype))
    return Measurements(operator, normal, kspace, adjoint, lipschitz, real, rotation, imaginary)


def in_own_unit(scan: Scan) -> tuple[Scan, float]:
    """The scan with k-space of root mean square 1, and the unit that it was divided by: PD comes back in it.

    Scanners' units reach from 1e-9 to 1e9; squares of them leave single precision.
    """
    unit = float(np.sqrt(np.mean(np.abs(scan.kspace.astype(np.complex128)) ** 2)))
    kspace = (scan.kspace / unit).astype(np.complex64)
    return replace(scan, kspace=kspace, noise_std=None if scan.noise_std is None else scan.noise_std / unit), unit


def schedule_residual(scan: Scan) -> float | None:
    """What share of the samples at the centre of k-space no mixture of tissue has under the scan's schedule.

    A sample at k = 0 is the sum over the voxels, so its course over the repetitions lies in the span of the dictionary
    whatever the object, the trajectory and the coils are. What lies outside is noise, which the fourth differences of
    neighbouring repetitions measure by themselves, or a schedule (or transmit field) that was another one.

    Returns:
        sqrt(|c - V V^H c|^2 - 1.5 noise) / |c|, 0 where that is negative; None where a repetition has no sample at the centre.
    """
    radius = np.hypot(*np.moveaxis(scan.trajectory, -1, 0))
    nearest = radius.argmin(axis=1)
    frames = np.arange(len(nearest))
    rank = min(_CENTRE_RANK, len(frames) // 4)
    if radius[frames, nearest].max() > _CENTRE / max(scan.image_size) or len(frames) <= len(_DIFFERENCES) + rank:
        return None
    fields = () if scan.b1 is None else np.linspace(scan.b1.min(), scan.b1.max(), 5).tolist()
    coarse = log_grid(24, 24, (100, 5000), (10, 1200))
    basis = Dictionary.build(scan.sequence, coarse, rank, b1=fields).basis.resolve_conj().numpy()
    centre = scan.kspace[:, frames, nearest].astype(np.complex128)
    outside = centre - (centre @ basis.conj()) @ basis.T
    steps = np.stack([np.convolve(coil, _DIFFERENCES, "valid") for coil in centre]) / np.linalg.norm(_DIFFERENCES)
    # Of the real or imaginary part; a median, as a schedule may have jumps.
    deviation = np.median(np.abs(np.concatenate([steps.real.ravel(), steps.imag.ravel()]))) / 0.6745
    noise = 2 * deviation**2 * len(centre) * (len(frames) - rank)
    energy = float((np.abs(outside) ** 2).sum() - _MARGIN * noise)
    return float(np.sqrt(max(energy, 0.0) / (np.abs(centre) ** 2).sum()))


def with_fewer_coils(scan: Scan, num_coils: int) -> Scan:
    """The scan in its ``num_coils`` virtual coils of most energy.

    Raises:
        UserError: where it has fewer.
    """
    maps = None if scan.coil_maps is None else torch.from_numpy(scan.coil_maps)
    kspace, maps = compress_coils(torch.from_numpy(scan.kspace), maps, num_coils)
    return replace(scan, kspace=kspace.numpy(), coil_maps=None if maps is None else maps.numpy())


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

    It is found from the complex PD of the best of ``atoms`` (K, s) for a low-rank reconstruction, in voxels of more than 0.3 of
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
