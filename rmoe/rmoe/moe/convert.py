"""A dense model's feed-forward layers become mixtures of experts, and back, for any ``nn.Module``.

A feed-forward layer is recognised by what is in it (Linear, activation, Linear, with dropouts between: timm's,
torchvision's, the published Swin's and CvT's, ours) and proved: the new layer must give what the old one gave.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from rmoe.moe.dispatch import ExpertWeights
from rmoe.moe.experts import ExpertTensors
from rmoe.moe.feed_forward import FeedForward
from rmoe.moe.layer import ResidualMoE, moe_layers
from rmoe.moe.routing import LinearRouter
from shared_utils import UserError

PRESETS = ("every2_last2", "last2", "all", "stage4")
Blocks = str | Sequence[Sequence[int]]
VERSION = 1


class Parts(NamedTuple):
    """A feed-forward layer taken apart; ``names``: of its two linear layers inside the module."""

    fc1: nn.Linear
    act: nn.Module
    fc2: nn.Linear
    dropout: tuple[float, float]
    names: tuple[str, str]


def take_apart(module: nn.Module) -> Parts | None:
    """The parts of a feed-forward layer C -> H -> C; None where the module is something else."""
    if isinstance(module, ResidualMoE):
        return None
    leaves = [(name, child) for name, child in module.named_modules() if name and not list(child.children())]
    linear = [(name, child) for name, child in leaves if isinstance(child, nn.Linear)]
    others = [
        child for _, child in leaves if not isinstance(child, nn.Linear | nn.Identity | nn.Dropout)
    ]  # fmt: skip
    own = sum(parameter.numel() for parameter in module.parameters())
    if len(linear) != 2 or len(others) != 1 or own != sum(p.numel() for _, child in linear for p in child.parameters()):
        return None
    (name1, fc1), (name2, fc2) = linear
    if fc1.out_features != fc2.in_features or fc1.in_features != fc2.out_features:
        return None
    drops = [child.p for _, child in leaves if isinstance(child, nn.Dropout)]
    # The published layers use their only dropout twice.
    dropout = (drops[0], drops[-1]) if drops else (0.0, 0.0)
    return Parts(fc1, others[0], fc2, dropout, (name1, name2))


def find_feed_forwards(model: nn.Module) -> dict[str, nn.Module]:
    """Every feed-forward layer of a model by name, in order; a mixture's own core is not one."""
    cores = {f"{name}.core" if name else "core" for name, _ in moe_layers(model)}
    found: dict[str, nn.Module] = {}
    for name, module in model.named_modules():
        inside = any(name.startswith(f"{outer}.") for outer in found)
        if name and name not in cores and not inside and take_apart(module) is not None:
            found[name] = module
    return found


def _places(names: Sequence[str]) -> dict[tuple[int, int], str]:
    """(stage, block) -> name, by the last two numbers in a name; a model of one stage has stage 0."""
    numbers = {name: [int(digits) for digits in re.findall(r"\d+", name)] for name in names}
    keys = {name: tuple(found[-2:-1]) for name, found in numbers.items()}
    stages = {key: place for place, key in enumerate(sorted(set(keys.values())))}
    blocks: dict[tuple[int, ...], list[str]] = {}
    for name in names:
        blocks.setdefault(keys[name], []).append(name)
    return {(stages[key], place): name for key, found in blocks.items() for place, name in enumerate(found)}


def _preset(preset: str, places: Mapping[tuple[int, int], str]) -> list[str]:
    last = max(stage for stage, _ in places)
    depth = {stage: sum(s == stage for s, _ in places) for stage in range(last + 1)}

    def wanted(stage: int, block: int) -> bool:
        # Of four stages the last two; of CvT's three the last, whose stride is that of the third; of one its second half.
        late = block >= depth[0] // 2 if last == 0 else stage >= min(2, last)
        return {
            "all": True,
            "last2": late,
            "stage4": late if last == 0 else stage == last,
            "every2_last2": late and block % 2 == 1,
        }[preset]

    return [name for (stage, block), name in places.items() if wanted(stage, block)]


def select_blocks(model: nn.Module, blocks: Blocks) -> list[str]:
    """The names of the feed-forward layers that ``blocks`` means, in the order of the model.

    Args:
        model: any module.
        blocks: a preset (``every2_last2``: every second block of the last two stages, as Swin-MoE; ``last2``,
            ``all``, ``stage4``); a list of block numbers per stage, ``[[], [], [1, 3, 5], [1]]``; or name patterns with
            commas between, ``layers.2.blocks.[13].mlp`` (``*`` and ``[...]`` as in a shell).

    Raises:
        UserError: nothing is found, or a block does not exist.
    """
    dense, mixed = find_feed_forwards(model), dict(moe_layers(model))
    # Mixtures count, so that a block keeps its number when another one has been converted.
    names = [name for name, _ in model.named_modules() if name in dense or name in mixed]
    if not dense:
        raise UserError(f"{type(model).__name__} has no feed-forward layer (Linear, activation, Linear) to convert")
    if isinstance(blocks, str) and blocks not in PRESETS:
        chosen: list[str] = []
        for pattern in blocks.split(","):
            found = [name for name in names if fnmatchcase(name, pattern.strip())]
            if not found:
                raise UserError(
                    f"no feed-forward layer is called {pattern.strip()!r}; there are {', '.join(names[:6])}"
                    f"{', ...' if len(names) > 6 else ''} (or give one of {', '.join(PRESETS)})"
                )
            chosen += found
        return [name for name in names if name in chosen]
    places = _places(names)
    if isinstance(blocks, str):
        chosen = _preset(blocks, places)
    else:
        chosen = []
        for stage, numbers in enumerate(blocks):
            for block in numbers:
                if (stage, block) not in places:
                    last = max((b for s, b in places if s == stage), default=None)
                    has = f"has blocks 0 to {last}" if last is not None else "does not exist"
                    raise UserError(f"moe_blocks names block {block} of stage {stage}, which {has}")
                chosen.append(places[stage, block])
    if not chosen:
        raise UserError(f"blocks {blocks!r} choose none of the {len(names)} feed-forward layers")
    if already := [name for name in chosen if name in mixed]:
        raise UserError(f"{already[0]} is a mixture of experts already")
    return [name for name in names if name in chosen]


def convert(model: nn.Module, blocks: Blocks = "every2_last2", **options: Any) -> list[str]:
    """Replace feed-forward layers of a model by mixtures that compute the same, in place.

    Args:
        model: any module; its weights become the cores.
        blocks: which layers, see ``select_blocks``.
        options: of ``ResidualMoE``: experts, k, gate, overflow, capacity_factor, residual_init, ...

    Returns:
        The names of the replaced layers.

    Raises:
        UserError: no such layer; or a layer does not compute what its parts say (then the model is unchanged).
    """
    names = select_blocks(model, blocks)
    made = {name: from_feed_forward(model.get_submodule(name), name, **options) for name in names}
    for name, layer in made.items():
        _replace(model, name, layer)
    return names


def from_feed_forward(module: nn.Module, name: str = "the module", **options: Any) -> ResidualMoE:
    """The mixture whose core is a feed-forward layer, in its precision, on its device.

    Raises:
        UserError: the module is no feed-forward layer, or does not compute fc2(act(fc1(x))).
    """
    parts = take_apart(module)
    if parts is None:
        raise UserError(f"{name} ({type(module).__name__}) is not a feed-forward layer (Linear, activation, Linear)")
    fc1, fc2 = parts.fc1, parts.fc2
    probe = torch.randn(4, fc1.in_features, dtype=fc1.weight.dtype, device=fc1.weight.device)
    core = FeedForward(
        fc1.in_features, fc1.out_features, parts.act, (fc1.bias is not None, fc2.bias is not None)
    ).to(fc1.weight)  # fmt: skip
    _load_linears(core, fc1, fc2)
    training = module.training
    with torch.no_grad():
        wanted, found = module.eval()(probe), core.eval()(probe)
    module.train(training)
    scale = max(1.0, float(wanted.abs().max())) * (2e-2 if wanted.dtype.itemsize == 2 else 1e-5)
    if wanted.shape != found.shape or float((wanted - found).abs().max()) > scale:
        raise UserError(
            f"{name} ({type(module).__name__}) holds Linear, activation and Linear but computes something else with them"
        )
    try:
        layer = ResidualMoE(
            fc1.in_features,
            fc1.out_features,
            act=parts.act,
            bias=(fc1.bias is not None, fc2.bias is not None),
            dropout=parts.dropout,
            **options,
        ).to(fc1.weight)
    except (ValueError, TypeError) as error:
        raise UserError(f"{name} cannot be converted: {error}") from error
    if layer.core is not None:
        _load_linears(layer.core, fc1, fc2)
        layer.reset_experts()
    else:
        layer.experts.set(_dense_tensors(fc1, fc2))
    # In a tuple, so that it is no submodule; on no device, for its form only is kept.
    layer.dense_form = (copy.deepcopy(module).to("meta"), parts.names)
    return layer.train(training)


def _dense_tensors(fc1: nn.Linear, fc2: nn.Linear) -> ExpertWeights:
    return ExpertWeights(fc1.weight, fc1.bias, fc2.weight, fc2.bias)


@torch.no_grad()
def _load_linears(core: FeedForward, fc1: nn.Linear, fc2: nn.Linear) -> None:
    for target, source in _dense_tensors(core.fc1, core.fc2).pairs(_dense_tensors(fc1, fc2)):
        target.copy_(source)


def _replace(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, last = name.rpartition(".")
    setattr(model.get_submodule(parent), last, module)


def describe(model: nn.Module) -> dict[str, Any]:
    """What was converted, as plain values for a checkpoint: {version, layers: {name: options}}."""
    return {"version": VERSION, "layers": {name: layer.options() for name, layer in moe_layers(model)}}


def apply_description(model: nn.Module, description: Mapping[str, Any]) -> nn.Module:
    """Convert the same layers of a dense model as ``describe`` reported, so that the state dict fits; in place."""
    if description.get("version") != VERSION:
        raise UserError(f"the mixture is described in version {description.get('version')}, this code reads {VERSION}")
    for name, options in description["layers"].items():
        convert(model, name, **options)
    return model


def to_dense(model: nn.Module) -> nn.Module:
    """Replace every mixture by a dense layer with the core's weights, in place: the residuals are dropped.

    A layer that ``convert`` has made gets its old form (class and entry names) back, so that the state dict loads
    strictly into the dense model.

    Raises:
        UserError: a layer has no core (``param: merged``; ``factor`` gives it one).
    """
    layers = dict(moe_layers(model))
    for name, layer in layers.items():
        if layer.core is None:
            raise UserError(f"{name} has no core (param merged): factor it first")
    for name, layer in layers.items():
        core = layer.core_weights()
        dense: nn.Module = FeedForward(layer.dim, layer.hidden, layer.act, layer.bias, layer.dropout)
        dense, parts = dense.to(core.fc1_weight), ("fc1", "fc2")
        if layer.dense_form is not None:
            form, parts = layer.dense_form
            dense = copy.deepcopy(form).to_empty(device=core.fc1_weight.device).to(core.fc1_weight)
        fc1, fc2 = (dense.get_submodule(part) for part in parts)
        assert isinstance(fc1, nn.Linear) and isinstance(fc2, nn.Linear)
        with torch.no_grad():
            for target, source in _dense_tensors(fc1, fc2).pairs(core):
                target.copy_(source)
        _replace(model, name, dense.train(layer.training))
    return model


def dense_state_dict(model: nn.Module) -> dict[str, Tensor]:
    """The state dict of the dense model inside: cores under the dense names, the rest as it is."""
    return to_dense(copy.deepcopy(model)).state_dict()


@torch.no_grad()
def merge(model: nn.Module) -> list[str]:
    """W_e = core + r_e: factored layers become merged ones (whole weights an expert), in place; their names."""
    changed = []
    for name, layer in moe_layers(model):
        if layer.param == "merged" or layer.form == "side_branch":
            continue
        weights = layer.expert_weights().map(torch.clone)
        layer.experts = ExpertTensors(layer.num_experts, layer.dim, layer.hidden, layer.bias).to(weights.fc1_weight)
        layer.experts.set(weights)
        del layer.residual
        layer.param, layer.residual_rank, layer._merged = "merged", None, None
        if layer.overflow == "core" or layer.gate == "residual":
            layer.core_module().requires_grad_(False)
        else:
            layer.core = None
        changed.append(name)
    return changed


@torch.no_grad()
def factor(model: nn.Module, cores: Mapping[str, ExpertWeights] | None = None) -> list[str]:
    """Split merged layers into core + residual, in place; the outputs stay (of kept tokens). Their names.

    Args:
        model: with merged layers.
        cores: a core for each layer's name, tensors without leading dimension (a dense model's); None: the mean of
            the experts, whose residuals sum to zero.
    """
    changed = []
    for name, layer in moe_layers(model):
        if layer.param != "merged":
            continue
        weights = layer.experts.weights()
        core = weights.map(lambda tensor: tensor.mean(0)) if cores is None else cores[name]
        if layer.core is None:
            layer.core = FeedForward(layer.dim, layer.hidden, layer.act, layer.bias, (layer.dropout[0], 0.0))
            layer.core.to(weights.fc1_weight).train(layer.training)
        for target, source in layer.core_weights().pairs(core):
            target.copy_(source)
        layer.core.requires_grad_(True)
        residual = ExpertTensors(layer.num_experts, layer.dim, layer.hidden, layer.bias).to(weights.fc1_weight)
        residual.set(weights.plus(core.map(torch.neg)))
        layer.residual = residual
        del layer.experts
        layer.param, layer._merged = "factored", None
        changed.append(name)
    return changed


@torch.no_grad()
def permute_experts(layer: ResidualMoE, order: Tensor) -> None:
    """Renumber the experts of a layer: expert ``order[i]`` becomes expert i. Changes no output."""
    experts = layer.experts if layer.param == "merged" else layer.residual
    for parameter in experts.parameters():
        parameter.copy_(parameter[order].clone())
    if isinstance(layer.router, LinearRouter):
        layer.router.weight.copy_(layer.router.weight[order].clone())
    else:
        layer.router.sim_matrix.copy_(layer.router.sim_matrix[:, order].clone())
    if layer.balance == "bias":
        layer.selection_bias.copy_(layer.selection_bias[order].clone())
