"""Optimiser and schedule, and how a network reads mouth crops."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from shared_utils import UserError


@dataclass(frozen=True)
class Recipe:
    """AdamW whose rate rises over the first steps and then falls.

    Args:
        rate: at its highest.
        weight_decay: of matrices; norms and biases have none.
        warmup: share of the training over which the rate rises in a straight line.
        decay: how it falls afterwards: cosine, linear, or none.
        clip: norm of the gradient that is not exceeded; 0: any.
    """

    rate: float = 1e-3
    weight_decay: float = 0.05
    warmup: float = 0.05
    decay: Literal["cosine", "linear", "none"] = "cosine"
    clip: float = 0.0

    def __post_init__(self) -> None:
        if self.rate <= 0 or not 0 <= self.warmup < 1:
            raise UserError(f"model.recipe: a rate is above 0 and a warmup in 0..1, got {self.rate} and {self.warmup}")

    def factor(self, share: float) -> float:
        """Of the rate, when a share of the training is done."""
        if share < self.warmup:
            return (share + 1e-3) / (self.warmup + 1e-3)
        left = 1 - min(1.0, (share - self.warmup) / (1 - self.warmup))
        if self.decay == "none":
            return 1.0
        return left if self.decay == "linear" else 0.5 * (1 - math.cos(math.pi * left))

    def groups(self, parameters: Iterable[nn.Parameter], scale: float = 1.0) -> list[dict[str, Any]]:
        """Parameters that are trained, with and without decay.

        Args:
            parameters: of a module.
            scale: of the rate.
        """
        trained = [each for each in parameters if each.requires_grad]
        rate = self.rate * scale
        groups = [
            {"params": [each for each in trained if each.ndim > 1], "weight_decay": self.weight_decay, "lr": rate},
            {"params": [each for each in trained if each.ndim < 2], "weight_decay": 0.0, "lr": rate},
        ]
        return [group for group in groups if group["params"]]

    def optimizer(self, groups: list[dict[str, Any]]) -> torch.optim.AdamW:
        """Of ``groups``, or of ``parameter_groups``."""
        if not groups:
            raise UserError("nothing of the network is trained: choose another model.unfreeze")
        return torch.optim.AdamW(groups, lr=self.rate)


def normalised(pictures: Tensor, mean: float = 0.421, std: float = 0.165) -> Tensor:
    """Mouth crops as networks read them: uint8 (n, t, s, s) -> float32 (n, 1, t, s, s), (v / 255 - mean) / std.

    The default numbers are LipForensics' (and the lip-reading models').
    """
    return pictures.unsqueeze(1).float().div_(255).sub_(mean).div_(std)
