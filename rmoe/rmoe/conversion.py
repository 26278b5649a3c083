"""A model on disk to a mixture that computes the same, with the proof: what was copied, what is new, how far outputs differ."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rmoe import models
from rmoe.moe import convert, moe_layers
from rmoe.moe.convert import Blocks
from rmoe.predictors import Predictor
from shared_utils import UserError

TOLERANCE = 1e-5


@dataclass(frozen=True)
class Conversion:
    """``converted`` is a copy of ``dense``; ``layers`` are the names of what became mixtures."""

    dense: Predictor
    converted: Predictor
    layers: list[str]

    def __str__(self) -> str:
        """What was copied and what is new, a line a layer."""
        own = self.converted.model.state_dict()
        new = [name for name in own if name not in self.dense.model.state_dict() and ".core." not in name]
        lines = [f"{len(own) - len(new)} tensors copied, {len(new)} new"]
        for name, layer in moe_layers(self.converted.model):
            inside = [each.removeprefix(f"{name}.") for each in own if each.startswith(f"{name}.")]
            copied = [each for each in inside if each.startswith("core.")] or ["as the experts"]
            spread = f" drawn N(0, {layer.router_init_std:g})" if layer.router_kind == "linear" else " drawn"
            how = {"residual": f" {layer.residual_init}", "experts": " from the core", "router": spread}
            fresh = [f"{part}.*{text}" for part, text in how.items() if any(each.startswith(part) for each in inside)]
            lines.append(
                f"  {name}: {layer.num_experts} experts, top-{layer.k}; copied {', '.join(copied)}; new: {', '.join(fresh)}"
            )
        return "\n".join(lines)


def convert_model(given: Predictor, blocks: Blocks, **options: Any) -> Conversion:
    """Convert a copy of a model's feed-forward layers.

    Args:
        given: dense, or with mixtures elsewhere.
        blocks: see ``rmoe.moe.convert``; of a model with a backbone, names begin in the backbone.
        options: of ``ResidualMoE``.
    """
    model = copy.deepcopy(given.model)
    inside = getattr(model, "backbone", model)
    try:
        names = convert(inside, blocks, **options)
    except TypeError as error:
        raise UserError(f"{error}: see rmoe.ResidualMoE for the switches") from error
    prefix = "" if inside is model else "backbone."
    return Conversion(given, given.with_model(model.eval()), [prefix + name for name in names])


def check_architecture(given: Predictor, arch: str, source: str) -> None:
    """Raise UserError, with the first three names and shapes that differ, unless a model is an ``arch``."""
    wanted = {name: tuple(value.shape) for name, value in models.backbone(arch).state_dict().items()}
    inside = getattr(given.model, "backbone", given.model)
    found = {name: tuple(value.shape) for name, value in inside.state_dict().items()}
    # Heads, and tables whose length follows from the window, say nothing about the architecture.
    skip = ("norm", "head", "attn.relative_position_bias_table")
    names = [n for n in {**wanted, **found} if not n.startswith(skip[:2]) and not n.endswith(skip[2])]
    differing = [
        f"{name} {found.get(name, 'missing')} for {wanted.get(name, 'none')}"
        for name in names
        if wanted.get(name) != found.get(name)
    ]
    if differing:
        raise UserError(f"{source} is not a {arch}: {len(differing)} entries differ, {'; '.join(differing[:3])}")


@torch.no_grad()
def outputs(given: Predictor, inputs: Tensor) -> list[Tensor]:
    """What a model makes of normalised images: logits of a classifier or segmenter, maps of a backbone or pyramid."""
    model = given.model.eval()
    if given.task == "detection":
        maps = model.get_submodule("neck")(model.get_submodule("backbone")(inputs))
        return list(maps.values() if isinstance(maps, Mapping) else maps)
    made = model(inputs)
    return list(made) if isinstance(made, list | tuple) else [made]


def example_inputs(given: Predictor, seed: int = 0, images: int = 2) -> Tensor:
    """Normal noise in a size that the model takes, which no grid of windows fits where it need not."""
    size = getattr(given.model, "image_size", None)
    size = (size, size) if size else (32, 32) if given.description.architecture == "mosaic_net" else (118, 150)
    return torch.randn(images, 3, *size, generator=torch.Generator().manual_seed(seed)).to(given.device)


def largest_difference(one: Predictor, other: Predictor, seed: int = 0) -> float:
    """max |difference| of the outputs of two models of one network on the same noise."""
    inputs = example_inputs(one, seed)
    pairs = zip(outputs(one, inputs), outputs(other, inputs), strict=True)
    return max(float((a - b).abs().max()) for a, b in pairs)


def verify(conversion: Conversion, seed: int = 0) -> float:
    """``largest_difference`` before and after.

    Raises:
        UserError: it is above 1e-5.
    """
    try:
        difference = largest_difference(conversion.dense, conversion.converted, seed)
    except ValueError as error:
        # A back end that was asked for by name and does not take the widths.
        raise UserError(f"the converted model cannot run: {error}") from error
    if not difference <= TOLERANCE:
        gates = {layer.gate for _, layer in moe_layers(conversion.converted.model)}
        why = f" (gate {', '.join(sorted(gates))}; straight_through, normalized and residual keep the function)"
        raise UserError(
            f"the converted model differs by {difference:.2g}, more than {TOLERANCE:g}{why}: nothing was written"
        )
    return difference
