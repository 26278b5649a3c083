"""The recipe of a training, and the parameter groups of dense models and mixtures."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import nn

from rmoe import schedules
from rmoe.moe.layer import moe_layers
from shared_utils import UserError

_NEVER = re.compile(r"(relative_position_bias_table|position|cls_token|logit_scale|temperature)$")


def decays(name: str, ndim: int, router: bool, expert: bool) -> bool:
    """Whether a parameter is decayed.

    Args:
        name: of the entry.
        ndim: its dimensions.
        router: it belongs to a mixture's router.
        expert: it belongs to a mixture's experts, whose tensors have a leading dimension more: a bias has two (Swin-MoE
            lists them by name; a test of the dimension alone would decay them).
    """
    if router or _NEVER.search(name):
        return False
    return not name.endswith("bias") and ndim - expert > 1


def parameter_groups(
    model: nn.Module,
    learning_rate: float,
    weight_decay: float,
    residual_lr_mult: float = 1.0,
    residual_weight_decay: float | None = None,
) -> list[dict[str, Any]]:
    """Groups for AdamW of everything that trains.

    Args:
        model: dense or with mixtures.
        learning_rate: of all but the residuals.
        weight_decay: of matrices and kernels; norms, biases, bias and position tables and routers have none.
        residual_lr_mult: times the learning rate, for the experts' own tensors [ours: 1].
        residual_weight_decay: of the experts' own matrices, where not ``weight_decay``: it pulls experts back to the core.

    Returns:
        At most four groups, none empty, each with a ``name``.
    """
    experts, routers = set(), set()
    for _, layer in moe_layers(model):
        own = layer.experts if layer.param == "merged" else layer.residual
        experts.update(map(id, own.parameters()))
        routers.update(map(id, layer.router.parameters()))
    groups: dict[str, list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        expert = id(parameter) in experts
        decayed = decays(name, parameter.ndim, id(parameter) in routers, expert)
        groups.setdefault(f"{'experts' if expert else 'shared'}, {'decay' if decayed else 'no decay'}", []).append(
            parameter
        )
    own_decay = weight_decay if residual_weight_decay is None else residual_weight_decay
    return [
        {
            "name": name,
            "params": parameters,
            "lr": learning_rate * (residual_lr_mult if name.startswith("experts") else 1.0),
            "weight_decay": (own_decay if name.startswith("experts") else weight_decay)
            if "no decay" not in name
            else 0.0,
        }
        for name, parameters in groups.items()
    ]


Schedule = Literal["poly", "step", "cosine", "linear", "constant"]


@dataclass(frozen=True)
class Recipe:
    """AdamW, its schedule, and the losses beside the task's. The defaults are ADE20K's with Swin-T.

    Args:
        learning_rate: the largest one.
        weight_decay: of matrices and kernels, see ``parameter_groups``.
        betas: of AdamW.
        schedule: ``poly`` (ADE20K), ``step`` (COCO), ``cosine`` (pre-training), ``linear`` (the procedural default),
            ``constant``.
        warmup_steps: linear.
        warmup_ratio: factor of the first step, in ``poly`` and ``step``.
        milestones: epochs of ``step``, each a tenth of the rate before.
        minimum: the last rate as a share of the largest, in ``poly``, ``cosine`` and ``linear``.
        auxiliary_losses: weights by name (``rmoe.moe.LOSSES``), of their sums over the mixtures.
        global_balance: auxiliary losses over the tokens of all processes.
        residual_lr_mult: learning rate of the experts' own tensors over that of the rest.
        residual_weight_decay: of the experts' own matrices; None: as the rest.
        expert_parallel: each process keeps its share of every mixture's experts (``rmoe.moe.parallel``), DDP does the
            rest; checkpoints are whole.
    """

    learning_rate: float = 6e-5
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.999)
    schedule: Schedule = "poly"
    warmup_steps: int = 1500
    warmup_ratio: float = 1e-6
    milestones: Sequence[int] = ()
    minimum: float = 0.0
    auxiliary_losses: dict[str, float] = field(default_factory=lambda: {"importance": 0.01})
    global_balance: bool = False
    residual_lr_mult: float = 1.0
    residual_weight_decay: float | None = None
    expert_parallel: bool = False

    def __post_init__(self) -> None:
        if self.learning_rate <= 0 or self.weight_decay < 0:
            raise UserError("learning_rate must be positive, weight_decay not negative")

    def factor(self, steps: int, of_epoch: int) -> schedules.Factor:
        """Iteration -> factor of the learning rate, of a training of ``steps`` iterations, ``of_epoch`` an epoch."""
        if self.schedule == "poly":
            return schedules.poly(steps, 1.0, self.warmup_steps, self.warmup_ratio, self.minimum)
        if self.schedule == "step":
            milestones = [epoch * of_epoch for epoch in self.milestones]
            return schedules.step(milestones, 0.1, self.warmup_steps, self.warmup_ratio)
        if self.schedule == "linear":
            return schedules.linear(steps, self.warmup_steps, self.minimum)
        if self.schedule == "cosine":
            return schedules.cosine(steps, self.warmup_steps, self.minimum)
        return lambda step: 1.0
