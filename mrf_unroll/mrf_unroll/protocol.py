"""An acquisition: schedule, subspace, trajectory, density weights and coils, with the operators that follow from them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from mrf_unroll import coils, trajectory
from mrf_unroll.arrays import load_arrays, numbers
from mrf_unroll.dictionary import Dictionary, log_grid
from mrf_unroll.operators import CartesianMaskOperator, FrameOperator, SubspaceOperator, ToeplitzNormal, operator_norm
from mrf_unroll.schedules import read_schedule
from mrf_unroll.sequence import Sequence
from shared_utils import UserError

# Of sampling positions, in cycles per pixel: what gradient waveforms in files round to.
_ROUNDING = 1e-4


@dataclass(frozen=True)
class ProtocolOptions:
    """What an acquisition is made of.

    Args:
        schedule: a generator with its length (``jiang:120``, ``ramp:200``, ``cao:500``) or a file of flip angles.
        tr_ms, te_ms, ti_ms: numbers; of TR also a file.
        rank: components s of the subspace.
        grid: logarithmic T1 and T2 steps of the dictionary, over t1_ms and t2_ms.
        image_size: height and width.
        trajectory: ``spiral`` (samples, turns and power of the interleaf), ``radial`` (samples), a file with one
            interleaf (``Coords`` (2, P), or ``traj`` (P, 2)) or a whole trajectory (``traj`` (N, P, 2)), all in
            cycles per pixel; an interleaf is turned by the golden angle, or ``rotation_deg``, from one repetition to
            the next. ``gridded_spiral``: the published Cartesian masks of a spiral (samples).
        density: weights W of the samples.
        num_coils: Gaussian ring coils where maps are simulated.
    """

    schedule: str = "jiang:120"
    tr_ms: float | str = 12.0
    te_ms: float = 2.0
    ti_ms: float | None = 18.0
    rank: int = 5
    grid: tuple[int, int] = (100, 100)
    t1_ms: tuple[float, float] = (100.0, 5000.0)
    t2_ms: tuple[float, float] = (10.0, 1200.0)
    image_size: int = 48
    trajectory: str = "spiral"
    samples: int = 48
    turns: float = 4.0
    power: float = 1.2
    rotation_deg: float | None = None
    density: Literal["spiral", "radial", "pipe_menon", "none"] = "spiral"
    num_coils: int = 1


class Protocol:
    """The sequence, dictionary, trajectory (N, P, 2), density weights (N, P) and coil maps (C, H, W) of an acquisition."""

    def __init__(self, options: ProtocolOptions) -> None:
        self.options = options
        self.sequence: Sequence = read_schedule(options.schedule, tr=options.tr_ms, te=options.te_ms, ti=options.ti_ms)
        self.image_size = (options.image_size, options.image_size)

    @cached_property
    def dictionary(self) -> Dictionary:
        options = self.options
        return Dictionary.build(self.sequence, log_grid(*options.grid, options.t1_ms, options.t2_ms), options.rank)

    @property
    def cartesian(self) -> bool:
        """Whether the samples lie on the grid, as published."""
        return self.options.trajectory == "gridded_spiral"

    @cached_property
    def trajectory(self) -> Tensor:
        options, frames = self.options, len(self.sequence)
        angles = trajectory.golden_angles(frames)
        if options.rotation_deg is not None:
            angles = options.rotation_deg * torch.arange(frames)
        if options.trajectory == "spiral":
            interleaf = trajectory.spiral(options.samples, options.turns, options.power)
        elif options.trajectory == "radial":
            return trajectory.radial(frames, options.samples)
        else:
            interleaf = read_trajectory(options.trajectory)
            if interleaf.ndim == 3:
                if len(interleaf) != frames:
                    raise UserError(
                        f"{options.trajectory} has {len(interleaf)} shots, the schedule {frames} pulses: they must agree"
                    )
                return interleaf
        return trajectory.rotate(interleaf, angles)

    @cached_property
    def density(self) -> Tensor | None:
        return density_weights(self.options.density, self.trajectory, self.image_size)

    @cached_property
    def coil_maps(self) -> Tensor | None:
        return (
            coils.gaussian_ring_maps(self.options.num_coils, *self.image_size) if self.options.num_coils > 1 else None
        )

    @cached_property
    def operator(self) -> SubspaceOperator | CartesianMaskOperator:
        """A, on the compressed time series."""
        return self._operator(torch.as_tensor(self.dictionary.basis))

    @cached_property
    def full_operator(self) -> nn.Module:
        """A of the whole time series, N components: what a scanner does, to simulate measurements with."""
        if self.cartesian:
            return self._operator(torch.eye(len(self.sequence)))
        return FrameOperator(self.trajectory, self.image_size, self.coil_maps)

    def _operator(self, basis: Tensor) -> SubspaceOperator | CartesianMaskOperator:
        if self.cartesian:
            masks = trajectory.gridded_spiral_masks(self.image_size[0], self.options.samples, len(self.sequence))
            return CartesianMaskOperator(trajectory.mask_positions(masks), basis, self.image_size)
        return SubspaceOperator(self.trajectory, basis, self.image_size, self.coil_maps, self.density)

    @cached_property
    def normal(self) -> nn.Module:
        """A^H W A; callable, and of the form that is fast."""
        operator = self.operator
        return ToeplitzNormal.from_operator(operator) if isinstance(operator, SubspaceOperator) else _Normal(operator)

    @cache  # noqa: B019 (protocols live as long as the process)
    def norm(self, dtype: torch.dtype = torch.float32) -> float:
        """The norm of ``normal`` on real or on complex time series; on real ones it is smaller, by up to a half."""
        return float(operator_norm(self.normal, (self.options.rank, *self.image_size), dtype=dtype))

    @cached_property
    def num_samples(self) -> int:
        """Complex samples of one scan, all coils."""
        if isinstance(self.operator, CartesianMaskOperator):
            return len(self.operator.mask)
        return self.trajectory[..., 0].numel() * self.options.num_coils

    @property
    def trajectory_hash(self) -> str:
        """SHA-256 of the sampling positions."""
        operator = self.operator
        return tensor_hash(operator.mask if isinstance(operator, CartesianMaskOperator) else self.trajectory)

    def adjoint(self, kspace: Tensor) -> Tensor:
        """h = A^H W y."""
        return self.operator.weighted_adjoint(kspace)

    def to(self, device: torch.device | str) -> Protocol:
        """Move the operators."""
        for name in ("operator", "normal"):
            getattr(self, name).to(device)
        return self


class _Normal(nn.Module):
    """A^H A of an operator that has no faster form."""

    def __init__(self, operator: CartesianMaskOperator) -> None:
        super().__init__()
        self.operator = operator

    def forward(self, x: Tensor) -> Tensor:
        return self.operator.normal(x)


def tensor_hash(value: Tensor) -> str:
    """SHA-256 of a tensor's numbers, to five decimals where they are not whole."""
    value = value.detach().cpu()
    array = (1e5 * value.double()).round().long() if value.is_floating_point() else value.long()
    return hashlib.sha256(array.numpy().astype("<i8").tobytes()).hexdigest()


def density_weights(kind: str, positions: Tensor, image_size: tuple[int, int]) -> Tensor | None:
    """(N, P) weights of mean 1, or None: ``spiral``, ``radial``, ``pipe_menon``, ``none``."""
    if kind == "none":
        return None
    if kind == "pipe_menon":
        return trajectory.pipe_menon_dcf(positions, image_size)
    return {"spiral": trajectory.spiral_dcf, "radial": trajectory.radial_dcf}[kind](positions)


def read_trajectory(path: str | Path) -> Tensor:
    """(P, 2) or (N, P, 2), (ky, kx) in cycles per pixel, from ``traj``, ``k`` or ``Coords`` of an .npz or .mat file.

    Raises:
        UserError: for a file without one and for values beyond 0.5.
    """
    content = load_arrays(path)
    named = [name for name in ("traj", "k", "Coords") if name in content]
    if not named:
        raise UserError(f"{path} has no trajectory: expected traj (P, 2) or (N, P, 2), or Coords (2, P)")
    value = torch.as_tensor(numbers(content, named[0], path))
    if named[0] == "Coords" and value.ndim == 2:
        value = value.T.contiguous()
    if value.ndim not in (2, 3) or value.shape[-1] != 2 or not value.numel():
        raise UserError(f"{path}: {named[0]} has shape {tuple(value.shape)}, expected (P, 2) or (N, P, 2)")
    trajectory.check_positions(value.numpy(), path)
    return value.float()


def same_positions(one: Tensor, other: Tensor) -> bool:
    """Whether two trajectories (N, P, 2) differ by rounding at most."""
    return one.shape == other.shape and float((one - other).abs().max()) < _ROUNDING
