"""What the experts of a model do: load, entropy, residuals against the core, operations and parameters.

Load and entropy are of the last forward pass; tokens that are padding of a batch do not count.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from rmoe.moe.dispatch import Backend
from rmoe.moe.layer import ResidualMoE, moe_layers
from rmoe.moe.routing import Routing


class Load(NamedTuple):
    """Of one layer's last routing."""

    share: Tensor
    """(E,) of all choices, those that found no slot included; sums to 1 (to 0 without tokens)."""
    dropped: float
    """Share of choices that found no slot."""
    entropy: float
    """Mean over tokens of the router's entropy, divided by log E: 1 where it does not care."""


@torch.no_grad()
def load(routing: Routing | None) -> Load:
    """How the tokens were spread. Raises RuntimeError where nothing has been routed yet."""
    if routing is None:
        raise RuntimeError("the layer has not routed anything yet: run the model first")
    expert, kept, probability = routing.expert, routing.kept, routing.logits.softmax(dim=1)
    if routing.counted is not None:
        expert, kept, probability = (value[routing.counted] for value in (expert, kept, probability))
    experts, choices = probability.shape[1], max(1, expert.numel())
    share = expert.reshape(-1).bincount(minlength=experts).float() / choices
    entropy = torch.special.entr(probability).sum(1).sum() / max(1, len(probability))
    scale = torch.log(torch.tensor(float(max(2, experts))))
    return Load(share.cpu(), float((~kept).sum()) / choices, float(entropy.cpu() / scale))


@torch.no_grad()
def residual_norms(layer: ResidualMoE) -> Tensor:
    """||r_e|| / ||core|| over all tensors of the feed-forward layer: (E,). A merged layer's core is the mean."""
    cores, experts = _flat(layer)
    return (experts - cores).norm(dim=1) / cores.norm().clamp(min=1e-12)


@torch.no_grad()
def residual_cosines(layer: ResidualMoE) -> Tensor:
    """Cosine between the residuals of each two experts: (E, E); 0 where one is zero."""
    cores, experts = _flat(layer)
    residual = functional.normalize(experts - cores, dim=1)
    return residual @ residual.T


def _flat(layer: ResidualMoE) -> tuple[Tensor, Tensor]:
    experts = [tensor for tensor in layer.expert_weights() if tensor is not None]
    if layer.param == "merged":
        cores = [tensor.mean(0) for tensor in experts]
    else:
        cores = [tensor for tensor in layer.core_weights() if tensor is not None]
    return torch.cat([core.reshape(-1) for core in cores]), torch.cat([tensor.flatten(1) for tensor in experts], dim=1)


@torch.no_grad()
def expert_map(layer: ResidualMoE, choice: int = 0) -> Tensor:
    """The expert of every token of the last forward pass, in the shape of its input without channels.

    Swin: (B, H, W) at the stage's stride; CvT: (B, 1 + H W), the class token first.
    """
    if layer.routing is None:
        raise RuntimeError("the layer has not routed anything yet: run the model first")
    return layer.routing.expert[:, choice].reshape(layer.token_shape)


def report(model: nn.Module) -> list[dict[str, Any]]:
    """A row for each mixture of the model, after a forward pass: plain numbers for a table."""
    rows = []
    for name, layer in moe_layers(model):
        row: dict[str, Any] = {"layer": name, "experts": layer.num_experts, "k": layer.k}
        if layer.routing is not None:
            spread = load(layer.routing)
            row |= {"smallest load": float(spread.share.min()), "largest load": float(spread.share.max())}
            row |= {"dropped": spread.dropped, "entropy": spread.entropy}
        if layer.exchange is None and layer.form == "factorised":
            norms = residual_norms(layer)
            cosines = residual_cosines(layer)
            apart = cosines[~torch.eye(len(cosines), dtype=torch.bool, device=cosines.device)]
            row |= {"residual / core": float(norms.mean())}
            row |= {"cosine": float(apart.mean()) if len(apart) else 0.0}
        rows.append(row)
    return rows


class Parameters(NamedTuple):
    """Counts: ``total`` as stored; ``active``: what one token meets (k feed-forward layers and the router of each)."""

    total: int
    active: int


def parameters(model: nn.Module) -> Parameters:
    """How many parameters a model has, and how many a token meets."""
    total = sum(parameter.numel() for parameter in model.parameters())
    active = total
    for _, layer in moe_layers(model):
        own = sum(parameter.numel() for parameter in layer.parameters())
        router = sum(parameter.numel() for parameter in layer.router.parameters())
        one = 2 * layer.dim * layer.hidden + layer.bias[0] * layer.hidden + layer.bias[1] * layer.dim
        twice = layer.gate == "residual" or layer.form == "side_branch"
        active += router + (layer.k + twice) * one - own
    return Parameters(total, active)


@contextmanager
def _counted_backends(model: nn.Module) -> Iterator[None]:
    # The counter knows plain matrix products, not the grouped one.
    before: dict[ResidualMoE, Backend] = {layer: layer.backend for _, layer in moe_layers(model)}
    for layer in before:
        layer.backend = "unbind"
    try:
        yield
    finally:
        for layer, backend in before.items():
            layer.backend = backend


@torch.no_grad()
def flops(model: nn.Module, *inputs: Any) -> int:
    """Floating-point operations (two a multiply-add) of matrix products and convolutions in one forward pass.

    The router counts; gathering, norms and activations do not.
    """
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    # Of the attention kernels the counter knows the one of plain products on every device.
    with _counted_backends(model), sdpa_kernel(SDPBackend.MATH), counter:
        model(*inputs)
    return counter.get_total_flops()
