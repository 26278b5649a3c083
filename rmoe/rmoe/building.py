"""Models from what a config says of them: a backbone by name, its published weights, its conversion."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from rmoe import models, published
from rmoe.models import Backbone
from rmoe.models.mosaic_net import MosaicNet
from rmoe.moe import convert, moe_layers, to_dense
from shared_utils import UserError


@dataclass(frozen=True)
class Mixture:
    """Which feed-forward layers become experts, and how.

    Args:
        blocks: a preset (``every2_last2``, ``last2``, ``all``, ``stage4``), a name pattern, or block numbers per stage.
        experts: E.
        k: experts a token.
        options: other switches of ``rmoe.ResidualMoE``: gate, overflow, capacity_factor, residual_init, ...
    """

    blocks: str | Sequence[Sequence[int]] = "every2_last2"
    experts: int = 8
    k: int = 1
    options: dict[str, Any] | None = None

    def switches(self) -> dict[str, Any]:
        """Arguments of ``convert``."""
        return {"experts": self.experts, "k": self.k, **(self.options or {})}

    def plain(self) -> dict[str, Any]:
        """For a checkpoint."""
        return asdict(self)


def made_backbone(options: Mapping[str, Any], weights: str | None = None) -> Backbone:
    """A backbone by the ``name`` in its options, with a published file's weights where one is given.

    Raises:
        UserError: no such name or option, or the file is of another architecture.
    """
    options = dict(options)
    name = options.pop("name", None)
    if name is None:
        raise UserError(f"the backbone needs a name: mosaic_net, {', '.join(models.NAMES)}")
    try:
        net = MosaicNet(**options) if name == "mosaic_net" else models.backbone(name, **options)
    except TypeError as error:
        raise UserError(f"the backbone {name}: {error}") from error
    if weights is not None:
        if name == "mosaic_net":
            raise UserError("model.weights is for published backbones: mosaic_net has none")
        published.import_backbone(net, weights)
    return net


def made_classifier(options: Mapping[str, Any], weights: str | None = None) -> nn.Module:
    """A classifier by the ``name`` in its options, see ``made_backbone``.

    Raises:
        UserError: no such name or option, or the file is of another architecture.
    """
    options = dict(options)
    name = options.pop("name", None)
    if name is None:
        raise UserError(f"the classifier needs a name: {', '.join(models.NAMES)}")
    try:
        net = models.classifier(name, **options)
    except TypeError as error:
        raise UserError(f"the classifier {name}: {error}") from error
    if weights is not None:
        published.import_classifier(net, weights)
    return net


M = TypeVar("M", bound=nn.Module)


def converted(model: M, mixture: Mixture | None) -> M:
    """The model with the mixture's layers converted, in place; as it is where there is none."""
    if mixture is not None:
        convert(model, mixture.blocks, **mixture.switches())
    return model


@torch.no_grad()
def load_dense(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load a dense state dict into a model whose layers have been converted: cores are set, experts start from them.

    Raises:
        RuntimeError: the entries are not those of the dense model.
    """
    twin = to_dense(copy.deepcopy(model))
    twin.load_state_dict(state)
    own = dict(model.named_parameters()) | dict(model.named_buffers())
    for name, value in twin.state_dict().items():
        if name in own:
            own[name].copy_(value)
    for name, layer in moe_layers(model):
        parts = ("fc1", "fc2") if layer.dense_form is None else layer.dense_form[1]
        fc1, fc2 = (twin.get_submodule(f"{name}.{part}") for part in parts)
        core = layer.core_module().parameters()
        for target, source in zip(core, (*fc1.parameters(), *fc2.parameters()), strict=True):
            target.copy_(source)
        layer.reset_experts()
