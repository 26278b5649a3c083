"""An encoder that knows every tissue of the dictionary before it has seen an image."""

from __future__ import annotations

import torch
from torch import Tensor, nn

# Natural logarithms of seconds: 5 ms to 12 s. Beyond, an output of the head has left the physics.
_LOG_SECONDS = (-5.3, 2.5)
_LOG_DENSITY = 1.5


def direction_moments(atoms: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation (c,) of atoms (K, c) over their norms.

    A channel that is the same in all of them (imaginary parts of real ones) keeps its scale.
    """
    unit = atoms / atoms.norm(dim=1, keepdim=True).clamp_min(1e-12)
    spread = unit.std(dim=0)
    return unit.mean(dim=0), torch.where(spread > 1e-4, spread, torch.ones_like(spread))


class BiasFreeDenoiser(nn.Module):
    """x + out(z), z by residual blocks of two 3x3 convolutions; no biases, so a scaled x gives the scaled result.

    ``out`` starts at zero: an untrained denoiser changes nothing (Mohan 2020 for what the absence of biases gives).
    """

    def __init__(self, channels: int, hidden: int = 48, blocks: int = 2) -> None:
        super().__init__()

        def convolution(inner: int, outer: int) -> nn.Conv2d:
            return nn.Conv2d(inner, outer, 3, padding=1, bias=False)

        self.first = convolution(channels, hidden)
        self.blocks = nn.ModuleList(
            nn.Sequential(convolution(hidden, hidden), nn.ReLU(), convolution(hidden, hidden)) for _ in range(blocks)
        )
        self.out = convolution(hidden, channels)
        nn.init.zeros_(self.out.weight)

    def forward(self, x: Tensor) -> Tensor:
        z = self.first(x)
        for block in self.blocks:
            z = torch.relu(z + block(z))
        return x + self.out(z)


class VoxelwiseHead(nn.Module):
    """T1, T2 and PD of every voxel by 1x1 convolutions on its time series over the series' norm, standardised.

    T1 and T2 are exponentials, so errors count relative to them, and PD is the norm times an exponential: the maps follow
    the scale of the data. ``mean`` and ``deviation`` (state) are those of the dictionary's atoms (``fit_normalisation``).
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, channels: int, hidden: int = 64, layers: int = 3) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("deviation", torch.ones(channels))
        modules: list[nn.Module] = []
        for inner in (channels, *[hidden] * (layers - 1)):
            modules += [nn.Conv2d(inner, hidden, 1), nn.ReLU()]
        self.layers = nn.Sequential(*modules, nn.Conv2d(hidden, 3, 1))

    def fit_normalisation(self, atoms: Tensor) -> None:
        """Take mean and deviation from atoms (K, c)."""
        mean, deviation = direction_moments(atoms)
        self.mean.copy_(mean)
        self.deviation.copy_(deviation)

    def logarithms(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, c, H, W) -> log T1 [s], log T2 [s], log PD / |x|, (B, 3, H, W), and |x| (B, 1, H, W)."""
        norm = x.square().sum(dim=1, keepdim=True).add(1e-20).sqrt()
        # A voxel of nothing has no direction; a floor relative to the slice keeps noise there from being blown up.
        floor = 0.02 * norm.detach().amax(dim=(2, 3), keepdim=True)
        unit = x / torch.maximum(norm, floor)
        values = self.layers((unit - self.mean[:, None, None]) / self.deviation[:, None, None])
        relaxation = values[:, :2].clamp(*_LOG_SECONDS)
        return torch.cat([relaxation, values[:, 2:].clamp(-_LOG_DENSITY, _LOG_DENSITY)], dim=1), norm

    def forward(self, x: Tensor) -> Tensor:
        logarithms, norm = self.logarithms(x)
        values = logarithms.exp()
        return torch.cat([values[:, :2], norm * values[:, 2:]], dim=1)


class DictionaryEncoder(nn.Module):
    """A bias-free denoiser of the time series, then a voxelwise head that is fitted to the dictionary before training.

    Whatever T1 and T2 the dictionary holds is known by construction; the denoiser deals in time series, not in tissues,
    and leaves one (``series``) that is compared with the measurements in the place of the Bloch decoder's.

    Args:
        in_channels: c, of the time series.
        hidden, blocks: of the denoiser.
        head_hidden, head_layers: of the head.
        passes: denoisers, one for every pass of the unrolled network, whose inputs are wrong in ways of their own; 1 is
            shared by all.
    """

    def __init__(
        self,
        in_channels: int = 10,
        hidden: int = 48,
        blocks: int = 2,
        head_hidden: int = 64,
        head_layers: int = 3,
        passes: int = 1,
    ) -> None:
        super().__init__()
        self.denoisers = nn.ModuleList(BiasFreeDenoiser(in_channels, hidden, blocks) for _ in range(passes))
        self.head = VoxelwiseHead(in_channels, head_hidden, head_layers)

    @property
    def passes(self) -> int:
        return len(self.denoisers)

    def series(self, x: Tensor, t: int = 0) -> Tensor:
        """The time series (B, c, H, W), denoised in pass ``t``."""
        return self.denoisers[t if self.passes > 1 else 0](x)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.series(x))
