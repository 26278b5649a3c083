"""Auxiliary losses of one layer's routing, and their sum over the layers of a model.

With f_e the share of tokens whose first choice is e (before anything is dropped), P_e the mean probability. ``gshard``,
``importance`` and ``load_importance`` are tutel's (published code); ``z`` is ST-MoE's. Which of them the RMoE paper
used is not known; a third party attributes ``importance`` to it. The default weight 0.01 is Swin-MoE's.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.distributed as dist
from torch import Tensor, nn

from rmoe.moe.layer import moe_layers
from rmoe.moe.routing import Routing
from shared_utils import distributed


def _counted(values: Tensor, routing: Routing) -> Tensor:
    return values if routing.counted is None else values[routing.counted]


def squared_variation(values: Tensor) -> Tensor:
    """(std / mean)^2 of (E,) values: unbiased variance over the squared mean + 1e-10; 0 for a single value."""
    if len(values) == 1:
        return values.sum() * 0
    return values.var() / (values.mean().square() + 1e-10)


class _SumOverRanks(torch.autograd.Function):
    """All-reduce whose backward all-reduces too: every rank's loss depends on every rank's tokens."""

    @staticmethod
    def forward(ctx, value: Tensor, group: dist.ProcessGroup | None) -> Tensor:
        ctx.group = group
        total = value.clone()
        dist.all_reduce(total, group=group)
        return total

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        total = gradient.clone()
        dist.all_reduce(total, group=ctx.group)
        return total, None


def _over_ranks(value: Tensor, global_balance: bool) -> Tensor:
    if not global_balance or distributed.world_size() == 1:
        return value
    return _SumOverRanks.apply(value, None)


def gshard(routing: Routing, global_balance: bool = False) -> Tensor:
    """E sum_e f_e P_e, gradient through P; 1 where the load is even, E where one expert gets all (tutel, Switch).

    In training P is of the noisy logits, as published.
    """
    probability = _counted(routing.probability, routing)
    experts = probability.shape[1]
    first = _counted(routing.first_choice, routing).bincount(minlength=experts).to(probability.dtype)
    first, total = _over_ranks(first, global_balance), _over_ranks(probability.sum(0), global_balance)
    tokens = _over_ranks(probability.new_tensor(float(len(probability))), global_balance).clamp(min=1)
    return experts * (first * total).sum() / tokens.square()


def importance(routing: Routing, global_balance: bool = False) -> Tensor:
    """(std / mean)^2 of Imp_e = sum_t P_te, of the logits without noise (Shazeer et al. 2017; tutel)."""
    probability = _counted(routing.logits, routing).softmax(dim=1)
    return squared_variation(_over_ranks(probability.sum(0), global_balance))


def load_importance(
    routing: Routing, global_balance: bool = False, gate_noise: float = 1.0, published_units: bool = False
) -> Tensor:
    """(importance + load) / 2 with load_e = sum_t Phi((L_te - m_t) E / noise), m_t the k-th chosen noisy logit.

    Args:
        routing: of a training step, with noise.
        global_balance: sums over all ranks.
        gate_noise: the layer's ``router_noise``.
        published_units: put the probability, not the logit, in the place of L, as tutel (and so Swin-MoE) does; the
            2017 paper and V-MoE compare logits with logits.
    """
    if gate_noise <= 0:
        raise ValueError("load_importance needs router_noise > 0: the load is a probability under that noise")
    logits, noisy = _counted(routing.logits, routing), _counted(routing.noisy_logits, routing)
    experts, k = logits.shape[1], routing.expert.shape[1]
    threshold = noisy.sort(dim=1, descending=True, stable=True).values[:, k - 1 : k]
    first = logits.softmax(dim=1) if published_units else logits
    load = torch.special.ndtr((first - threshold) * experts / gate_noise).sum(0)
    return (importance(routing, global_balance) + squared_variation(_over_ranks(load, global_balance))) / 2


def z_loss(routing: Routing, global_balance: bool = False) -> Tensor:
    """mean_t logsumexp(L_t)^2 (ST-MoE); ``global_balance`` changes nothing."""
    logits = _counted(routing.logits, routing)
    return logits.logsumexp(dim=1).square().sum() / max(1, len(logits))


LOSSES: dict[str, Callable[..., Tensor]] = {
    "gshard": gshard,
    "switch": gshard,
    "importance": importance,
    "load_importance": load_importance,
    "z": z_loss,
}


def auxiliary_losses(
    model: nn.Module, names: tuple[str, ...] = ("importance",), global_balance: bool = False, **options: object
) -> dict[str, Tensor]:
    """Each named loss, summed (not averaged) over the MoE layers of the last forward pass.

    Args:
        model: with ``ResidualMoE`` layers.
        names: of ``LOSSES``.
        global_balance: f and P over all ranks' tokens instead of the rank's own (the published form).
        options: ``published_units`` of ``load_importance``.

    Returns:
        By name; empty where the model has no MoE layer. Multiply by a weight (0.01) and add to the task's loss.

    Raises:
        ValueError: a name is unknown.
        RuntimeError: a layer has not run yet.
    """
    for name in names:
        if name not in LOSSES:
            raise ValueError(f"auxiliary loss {name!r} is unknown: choose of {', '.join(LOSSES)}")
    sums: dict[str, Tensor] = {}
    for path, layer in moe_layers(model):
        if layer.routing is None:
            raise RuntimeError(f"{path} has not routed anything yet: run the model before its auxiliary losses")
        for name in names:
            extra = {"gate_noise": layer.router_noise, **options} if name == "load_importance" else {}
            value = LOSSES[name](layer.routing, global_balance, **extra)
            sums[name] = sums[name] + value if name in sums else value
    return sums
