"""Measurement noise."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from shared_utils import UserError


@dataclass(frozen=True)
class Noise:
    """y = gain * Poisson(clean / gain) + sigma * Gaussian, on the observed entries; gain 0: no Poisson part."""

    sigma: float = 0.0
    gain: float = 0.0

    def __post_init__(self) -> None:
        if self.sigma < 0 or self.gain < 0:
            raise UserError(f"noise levels are not negative: sigma {self.sigma}, gain {self.gain}")

    def __bool__(self) -> bool:
        return self.sigma > 0 or self.gain > 0

    def __call__(self, clean: Tensor, observed: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Noisy measurements, of the shape of ``clean``; differentiable in it where there is no Poisson part.

        Raises UserError for negative clean measurements under Poisson noise.
        """
        noisy = clean
        if self.gain > 0:
            if bool((clean < 0).any()):
                raise UserError(
                    "Poisson noise needs measurements that are not negative: these operators give negative ones"
                )
            noisy = self.gain * torch.poisson(clean / self.gain, generator=generator)
        if self.sigma > 0:
            draw = torch.randn(noisy.shape, generator=generator, device=noisy.device, dtype=noisy.dtype)
            noisy = noisy + self.sigma * draw * observed
        return noisy
