"""The parameters that differ between experts: whole tensors, or low-rank products."""

from __future__ import annotations

import torch
from torch import nn

from rmoe.moe.dispatch import ExpertWeights


class ExpertTensors(nn.Module):
    """A tensor an expert for each tensor of the feed-forward layer: residuals r_e, or whole weights.

    Args:
        experts: E.
        dim: C.
        hidden: H.
        bias: whether fc1 and fc2 have one.
    """

    def __init__(self, experts: int, dim: int, hidden: int, bias: tuple[bool, bool] = (True, True)) -> None:
        super().__init__()
        self.fc1_weight = nn.Parameter(torch.zeros(experts, hidden, dim))
        self.fc1_bias = nn.Parameter(torch.zeros(experts, hidden)) if bias[0] else None
        self.fc2_weight = nn.Parameter(torch.zeros(experts, dim, hidden))
        self.fc2_bias = nn.Parameter(torch.zeros(experts, dim)) if bias[1] else None

    def weights(self) -> ExpertWeights:
        """The tensors by name."""
        return ExpertWeights(self.fc1_weight, self.fc1_bias, self.fc2_weight, self.fc2_bias)

    @torch.no_grad()
    def reset(self) -> None:
        """All zero."""
        for parameter in self.parameters():
            parameter.zero_()

    @torch.no_grad()
    def set(self, weights: ExpertWeights) -> None:
        """Take over values of the same shapes."""
        for own, new in self.weights().pairs(weights):
            own.copy_(new)

    @torch.no_grad()
    def add_noise(self, scales: ExpertWeights) -> None:
        """Add normal noise; ``scales``: a standard deviation (0-d) for each tensor."""
        for own, scale in self.weights().pairs(scales):
            own.add_(torch.randn_like(own) * scale)


class LowRankResidual(nn.Module):
    """r_e = A_e B_e for the two matrices, whole residuals for the biases [ours].

    A is drawn like a linear layer's weight and B is zero, so r_e = 0 and the gradient of B is not.

    Args:
        experts: E.
        dim: C.
        hidden: H.
        rank: of the products.
        bias: whether fc1 and fc2 have one.
    """

    def __init__(self, experts: int, dim: int, hidden: int, rank: int, bias: tuple[bool, bool] = (True, True)) -> None:
        super().__init__()
        if not 1 <= rank <= min(dim, hidden):
            raise ValueError(f"residual_rank {rank} must be between 1 and min(dim, hidden) = {min(dim, hidden)}")
        self.fc1_a = nn.Parameter(torch.randn(experts, hidden, rank) * rank**-0.5)
        self.fc1_b = nn.Parameter(torch.zeros(experts, rank, dim))
        self.fc1_bias = nn.Parameter(torch.zeros(experts, hidden)) if bias[0] else None
        self.fc2_a = nn.Parameter(torch.randn(experts, dim, rank) * rank**-0.5)
        self.fc2_b = nn.Parameter(torch.zeros(experts, rank, hidden))
        self.fc2_bias = nn.Parameter(torch.zeros(experts, dim)) if bias[1] else None

    def weights(self) -> ExpertWeights:
        """The products, in the shapes of ``ExpertTensors``."""
        return ExpertWeights(self.fc1_a @ self.fc1_b, self.fc1_bias, self.fc2_a @ self.fc2_b, self.fc2_bias)

    @torch.no_grad()
    def reset(self) -> None:
        """Products and biases zero; A as it was drawn."""
        for tensor in (self.fc1_b, self.fc1_bias, self.fc2_b, self.fc2_bias):
            if tensor is not None:
                tensor.zero_()

    @torch.no_grad()
    def add_noise(self, scales: ExpertWeights) -> None:
        """Noise whose product has about the given standard deviations."""
        # An entry of A B sums rank products of which A has variance 1 / rank: its deviation is that of B.
        for own, scale in (
            (self.fc1_b, scales.fc1_weight),
            (self.fc1_bias, scales.fc1_bias),
            (self.fc2_b, scales.fc2_weight),
            (self.fc2_bias, scales.fc2_bias),
        ):
            if own is not None and scale is not None:
                own.add_(torch.randn_like(own) * scale)
