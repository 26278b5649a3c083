"""LARS, the groups of parameters and the schedules of the recipes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

# What the published code leaves out of LARS: by a piece of the name, so that a `bn` inside any word counts.
_PUBLISHED_EXCLUDED = ("bn", "bias", "downsample.1")


class LARS(torch.optim.Optimizer):
    """SGD whose steps are as long, for each tensor, as its own weights allow (You et al., 2017).

    ``g <- g + wd p``; in groups with ``layer_adaptation`` ``g <- g * trust |p| / (|g| + wd |p| + eps)``; then momentum.

    Args:
        params: parameters or groups, as ``lars_groups`` makes them.
        lr, momentum, weight_decay: of SGD.
        trust_coefficient: of the step's length.
        eps: keeps the quotient finite.
        published: add the decay twice, before and after the norms, as the published code does.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 1e-4,
        trust_coefficient: float = 0.001,
        eps: float = 1e-8,
        published: bool = False,
    ) -> None:
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "layer_adaptation": True}
        super().__init__(params, {**defaults, "trust_coefficient": trust_coefficient, "eps": eps})
        self.published = published

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step from the gradients, which are left as they are."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                update = self._adapted(parameter, group)
                if group["momentum"]:
                    state = self.state[parameter]
                    if "momentum_buffer" not in state:
                        state["momentum_buffer"] = update.clone()
                    else:
                        state["momentum_buffer"].mul_(group["momentum"]).add_(update)
                    update = state["momentum_buffer"]
                parameter.add_(update, alpha=-group["lr"])
        return loss

    def _adapted(self, parameter: Tensor, group: dict[str, Any]) -> Tensor:
        decay = group["weight_decay"]
        assert parameter.grad is not None
        gradient = parameter.grad.add(parameter, alpha=decay)
        scale: Tensor | float = 1.0
        if group["layer_adaptation"]:
            size, slope = parameter.norm(), gradient.norm()
            whole = group["trust_coefficient"] * size / (slope + decay * size + group["eps"])
            scale = torch.where((size > 0) & (slope > 0), whole, torch.ones_like(whole))
        if self.published:
            gradient.add_(parameter, alpha=decay)
        return gradient * scale


def lars_groups(model: nn.Module, weight_decay: float = 1e-4, published: bool = False) -> list[dict[str, Any]]:
    """Two groups: what keeps the plain step and no decay (norms and biases), and what LARS adapts.

    Args:
        model: frozen parameters are left out.
        weight_decay: of the adapted group.
        published: tell them apart by pieces of their names, as the published code does, instead of by what they are.
    """
    norms = {
        f"{module_name}.{name}".lstrip(".")
        for module_name, module in model.named_modules()
        if isinstance(module, nn.modules.batchnorm._NormBase | nn.LayerNorm | nn.GroupNorm)
        for name, _ in module.named_parameters(recurse=False)
    }
    plain, adapted = [], []
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        if published:
            excluded = any(piece in name for piece in _PUBLISHED_EXCLUDED)
        else:
            excluded = name in norms or name.rsplit(".", 1)[-1] == "bias"
        (plain if excluded else adapted).append(parameter)
    return [
        {"params": plain, "weight_decay": 0.0, "layer_adaptation": False},
        {"params": adapted, "weight_decay": weight_decay, "layer_adaptation": True},
    ]


def finetuning_groups(
    model: nn.Module, lr: float, weight_decay: float = 5e-4, bias_lr_factor: float = 1.0
) -> list[dict[str, Any]]:
    """Biases with a rate of their own (BoT: twice the others'), everything else together; frozen ones are left out."""
    biases, rest = [], []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            (biases if name.endswith("bias") else rest).append(parameter)
    return [
        {"params": rest, "lr": lr, "weight_decay": weight_decay},
        {"params": biases, "lr": lr * bias_lr_factor, "weight_decay": weight_decay},
    ]


@dataclass(frozen=True)
class Schedule:
    """The factor of the learning rate at an epoch, which may be a fraction: for ``LambdaLR`` over steps.

    Args:
        epochs: of the whole training.
        decay: ``steps`` (a factor at each milestone), ``cosine``, or ``none``.
        milestones: epochs of ``steps``.
        gamma: the factor there.
        warmup: epochs of a straight line from ``warmup_start`` to 1.
        warmup_start: the factor at the very beginning.
        flat: the epoch at which ``cosine`` begins to fall.
        floor: where ``cosine`` ends.
    """

    epochs: float
    decay: str = "cosine"
    milestones: tuple[float, ...] = ()
    gamma: float = 0.1
    warmup: float = 0.0
    warmup_start: float = 0.01
    flat: float = 0.0
    floor: float = 0.0

    def __call__(self, epoch: float) -> float:
        factor = 1.0
        if epoch < self.warmup:
            done = epoch / self.warmup
            factor = self.warmup_start * (1 - done) + done
        if self.decay == "steps":
            return factor * self.gamma ** sum(epoch >= milestone for milestone in self.milestones)
        if self.decay == "cosine" and epoch > self.flat:
            done = min(1.0, (epoch - self.flat) / max(1e-9, self.epochs - self.flat))
            return factor * (self.floor + (1 - self.floor) * (1 + math.cos(math.pi * done)) / 2)
        return factor
