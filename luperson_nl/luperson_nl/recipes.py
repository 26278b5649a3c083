"""A recipe of training as a config gives it: optimiser, rate, decay, and the schedule of the rate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from luperson_nl.optimisation import LARS, Schedule, finetuning_groups, lars_groups
from shared_utils import UserError


@dataclass(frozen=True)
class Recipe:
    """Optimiser and schedule; the rate changes from step to step in the warm-up and along a cosine.

    Args:
        optimizer: sgd, adam (decay inside the gradient, as published), or lars (which leaves biases and norms as they are).
        learning_rate: after the warm-up.
        momentum: of sgd and lars.
        weight_decay: of everything.
        bias_lr_factor: times the rate, of biases (sgd, adam).
        decay: of the rate: ``none``, ``steps`` or ``cosine``; see ``optimisation.Schedule``, also for what follows.
        milestones: epochs.
        gamma: factor at each milestone.
        warmup: epochs.
        warmup_start: factor at the beginning.
        flat: epoch at which a cosine begins.
        floor: factor at the end of a cosine.
    """

    optimizer: Literal["sgd", "adam", "lars"] = "sgd"
    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 1e-4
    bias_lr_factor: float = 1.0
    decay: Literal["none", "steps", "cosine"] = "cosine"
    milestones: Sequence[float] = ()
    gamma: float = 0.1
    warmup: float = 0.0
    warmup_start: float = 0.01
    flat: float = 0.0
    floor: float = 0.0

    def __post_init__(self) -> None:
        if self.learning_rate <= 0:
            raise UserError(f"model.recipe.learning_rate {self.learning_rate} must be positive")

    def schedule(self, epochs: float) -> Schedule:
        """The factor of the rate over a training of so many epochs."""
        shape = (self.decay, tuple(self.milestones), self.gamma, self.warmup, self.warmup_start, self.flat, self.floor)
        return Schedule(epochs, *shape)

    def build(self, model: nn.Module) -> torch.optim.Optimizer:
        """The optimiser of a model's parameters; those that never get a gradient are left out."""
        options: dict[str, Any] = {"lr": self.learning_rate, "weight_decay": self.weight_decay}
        if self.optimizer == "lars":
            return LARS(lars_groups(model, self.weight_decay), momentum=self.momentum, **options)
        groups = [
            group
            for group in finetuning_groups(model, self.learning_rate, self.weight_decay, self.bias_lr_factor)
            if group["params"]
        ]
        if self.optimizer == "adam":
            return torch.optim.Adam(groups, foreach=True, **options)
        return torch.optim.SGD(groups, momentum=self.momentum, foreach=True, **options)
