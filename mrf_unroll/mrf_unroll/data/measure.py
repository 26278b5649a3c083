"""From slices to what a scanner would measure of them.

Validation and test: every voxel's whole time series by EPG, through the operator of all N components, plus noise: neither
the dictionary's grid, nor the decoder, nor the subspace has a part in it. Training: the same time series compressed, so
that A^H W y is a product with the normal operator and noise can be fresh in every step.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mrf_unroll.data.slices import Slice
from mrf_unroll.operators import FrameOperator
from mrf_unroll.protocol import Protocol
from mrf_unroll.simulation import tsmi

_MANY_SAMPLES = 2**18
_TOGETHER = 64


class Batch(NamedTuple):
    """Slices with their measurements.

    Args:
        maps: (B, 3, H, W), T1 [s], T2 [s], PD.
        mask: (B, H, W) bool.
        tsmi: (B, s, H, W), the compressed truth.
        noise_std: (B,), of the real and of the imaginary part of a sample.
        adjoint: h = A^H W y of noisy measurements.
        clean_adjoint, energy: the same without noise, and |y|_W^2 (B,); for the loss.
        kspace: noisy y, in evaluation.
    """

    maps: Tensor
    mask: Tensor
    tsmi: Tensor
    noise_std: Tensor
    adjoint: Tensor | None = None
    clean_adjoint: Tensor | None = None
    energy: Tensor | None = None
    kspace: Tensor | None = None


class Measurer:
    """Simulates the measurements of slices with a protocol.

    Args:
        noise: standard deviation of a sample's real and of its imaginary part: over the mean of |y| where
            ``relative_noise``, else absolute (published: 0.01).
        complex_valued: the object has its phase.
    """

    def __init__(
        self, protocol: Protocol, noise: float = 0.01, relative_noise: bool = True, complex_valued: bool = False
    ) -> None:
        self.protocol, self.noise, self.relative_noise = protocol, noise, relative_noise
        self.complex_valued = complex_valued

    def _series(self, slices: list[Slice], basis: Tensor) -> Tensor:
        """(B, components, H, W)."""
        maps = torch.stack([torch.from_numpy(one.maps) for one in slices])
        phase = _stack(slices, "phase") if self.complex_valued else None
        return tsmi(maps, self.protocol.sequence, basis, phase=phase)

    def _noise_std(self, kspace: Tensor) -> Tensor:
        """(B,)."""
        mean = kspace.abs().flatten(1).mean(dim=1)
        return self.noise * (mean if self.relative_noise else torch.ones_like(mean))

    @torch.no_grad()
    def training(self, slices: list[Slice]) -> Batch:
        """All slices, without measurements, which ``measure`` makes anew in every step."""
        basis = torch.as_tensor(self.protocol.dictionary.basis)
        # Many slices at once: the simulator's cost goes by ranges of T2 more than by voxels.
        parts = [slices[start : start + _TOGETHER] for start in range(0, len(slices), _TOGETHER)]
        series = torch.cat([self._series(part, basis) for part in parts])
        deviations = [self._noise_std(self._some_kspace(x[None])) for x in series]
        return Batch(_stack(slices, "maps"), _stack(slices, "mask"), series, torch.cat(deviations))

    def _some_kspace(self, series: Tensor) -> Tensor:
        """The samples of a slice, to take their mean magnitude: those of evenly spaced frames where there are very many."""
        protocol = self.protocol
        if protocol.cartesian or protocol.num_samples <= _MANY_SAMPLES:
            return protocol.operator(series)
        frames = torch.linspace(0, len(protocol.sequence) - 1, 32).long()
        basis = torch.as_tensor(protocol.dictionary.basis)[frames].to(series)
        operator = FrameOperator(protocol.trajectory[frames], protocol.image_size, protocol.coil_maps)
        return operator(torch.einsum("ns,bshw->bnhw", basis, series))

    @torch.no_grad()
    def measure(self, batch: Batch, generator: torch.Generator | None = None) -> Batch:
        """A batch of ``training`` with noisy measurements of its own."""
        clean = self.protocol.normal(batch.tsmi)
        shape = (len(clean), *self._kspace_shape())
        draws = torch.randn(*shape, 2, generator=generator, device=clean.device)
        scale = batch.noise_std.reshape(-1, *[1] * (len(shape) - 1))
        disturbance = self.protocol.adjoint(scale * torch.view_as_complex(draws))
        disturbance = disturbance if clean.is_complex() or not disturbance.is_complex() else disturbance.real
        energy = (batch.tsmi.conj() * clean).real.flatten(1).sum(dim=1)
        return batch._replace(adjoint=clean + disturbance, clean_adjoint=clean, energy=energy)

    def _kspace_shape(self) -> tuple[int, ...]:
        if self.protocol.cartesian:
            return (self.protocol.num_samples,)
        return (self.protocol.options.num_coils, *self.protocol.trajectory.shape[:2])

    @torch.no_grad()
    def evaluation(self, slices: list[Slice], seed: int) -> list[Batch]:
        """One batch a slice, measured from its whole time series; the noise of slice i follows from (seed, i)."""
        basis = torch.as_tensor(self.protocol.dictionary.basis)
        batches = []
        for place, one in enumerate(slices):
            whole = self._series([one], torch.eye(len(self.protocol.sequence)))
            generator = torch.Generator().manual_seed(100_003 * seed + place)
            clean = self.protocol.full_operator(whole)
            deviation = self._noise_std(clean)
            draws = torch.randn(*clean.shape, 2, generator=generator)
            kspace = clean + deviation * torch.view_as_complex(draws)
            adjoint = self.protocol.adjoint(kspace)
            if not self.complex_valued and adjoint.is_complex():
                adjoint = adjoint.real
            compressed = torch.einsum("ns,bnhw->bshw", basis.conj().to(whole), whole)
            batches.append(
                Batch(_stack([one], "maps"), _stack([one], "mask"), compressed, deviation, adjoint, None, None, kspace)
            )
        return batches


def _stack(slices: list[Slice], name: str) -> Tensor:
    return torch.stack([torch.from_numpy(getattr(one, name)) for one in slices])


def random_symmetry(batch: Batch) -> Batch:
    """Each item flipped and turned by multiples of 90 degrees at random (torch's generator), its PD scaled by up to 10 %."""
    count, device = len(batch.maps), batch.maps.device
    turns = torch.randint(0, 4, (count,)).tolist()
    flips = torch.randint(0, 2, (count,)).tolist()
    gains = (0.9 + 0.2 * torch.rand(count)).to(device)

    def move(values: Tensor) -> Tensor:
        return torch.stack(
            [
                torch.rot90(value.flip(-1) if flip else value, turn, dims=(-2, -1))
                for value, turn, flip in zip(values, turns, flips, strict=True)
            ]
        )

    maps = move(batch.maps)
    maps = torch.cat([maps[:, :2], maps[:, 2:] * gains[:, None, None, None]], dim=1)
    series = move(batch.tsmi) * gains[:, None, None, None]
    return batch._replace(maps=maps, mask=move(batch.mask), tsmi=series, noise_std=batch.noise_std * gains)
