"""Unrolled proximal gradient: a network for every step, and the operator in between."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from incomplete_sensing.models.operator_aware import OperatorAware
from incomplete_sensing.models.unet import Norm, UNet

if TYPE_CHECKING:
    from incomplete_sensing.operators import OperatorFamily


class UnrolledProximalGradient(OperatorAware):
    """z_0 = A^T y, z_{t+1} = net_t(z_t - eta_t A^T (A z_t - y)).

    The learned step sizes eta_t start at ``step_size``; the networks are U-Nets, one a step, or one for all where
    ``shared``. The MOI poster names this family for its MRI result but neither the number of steps nor the network:
    3 steps and 32 base channels are our choice. Operators may differ from sample to sample.
    """

    def __init__(
        self,
        in_channels: int = 2,
        iterations: int = 3,
        base_channels: int = 32,
        levels: int = 4,
        norm: Norm = "batch",
        circular_padding: Literal["none", "first", "all"] = "first",
        step_size: float = 1.0,
        shared: bool = False,
    ) -> None:
        super().__init__()
        self.iterations = iterations
        self.networks = nn.ModuleList(
            UNet(in_channels, in_channels, True, circular_padding, True, base_channels, levels, norm)
            for _ in range(1 if shared else iterations)
        )
        self.step_sizes = nn.Parameter(torch.full((iterations,), step_size))

    def forward(
        self, measurements: Tensor, operators: OperatorFamily, g: int | Tensor, given: Tensor | None = None
    ) -> Tensor:
        """(B, *measurement_shape) -> (B, C, H, W)."""
        measurements = measurements if given is None else given * measurements
        estimate = operators.adjoint(measurements, g)
        for step in range(self.iterations):
            image = operators(estimate, g)
            gradient = operators.adjoint((image if given is None else given * image) - measurements, g)
            network = self.networks[step % len(self.networks)]
            estimate = network(estimate - self.step_sizes[step] * gradient)
        return estimate
