"""Swin-MoE's files, one a rank, and tutel's layer: gathered onto one process, and written back.

Published code: microsoft/Swin-Transformer ``utils_moe.py`` and tutel. Experts are stored with the hidden units first in
both matrices (fc2 transposed against ``nn.Linear``). With fewer experts than ranks, consecutive ranks hold slices of one
expert's hidden units, and slices of its output bias.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rmoe.models import SwinMoE
from rmoe.moe.convert import merge
from rmoe.moe.layer import ResidualMoE, moe_layers
from rmoe.published.layouts import network_options
from rmoe.published.loading import Report, load
from rmoe.published.reading import rank_files, read, unwrap, without_computed
from shared_utils import UserError

_THEIRS_TO_OURS = {
    "experts.batched_fc1_w": "experts.fc1_weight",
    "experts.batched_fc2_w": "experts.fc2_weight",
    "experts.batched_fc1_bias": "experts.fc1_bias",
    "experts.batched_fc2_bias": "experts.fc2_bias",
    "gates.0.wg.weight": "router.weight",
    "gates.0.temperature": "router.temperature",
    "gates.0.cosine_projector.weight": "router.projector.weight",
    "gates.0.cosine_projector.bias": "router.projector.bias",
    "gates.0.sim_matrix": "router.sim_matrix",
}
_OURS_TO_THEIRS = {ours: theirs for theirs, ours in _THEIRS_TO_OURS.items()}
_MARK = "_moe_layer."


def gather(states: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The ranks' state dicts as one: experts' tensors one after the other, the rest of rank 0."""
    joined = dict(states[0])
    for name in joined:
        if ".experts.batched_" in name:
            joined[name] = torch.cat([state[name] for state in states])
    return joined


def layer_to_ours(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Entries of one tutel layer (names from ``experts.`` and ``gates.`` on) under ours: (E, H, C), (E, C, H), ..."""
    router = state.get("gates.0.wg.weight")
    experts = len(router) if router is not None else state["gates.0.sim_matrix"].shape[1]
    made = {}
    for theirs, value in state.items():
        if theirs not in _THEIRS_TO_OURS:
            raise UserError(f"tutel entry {theirs} is unknown: expected experts.batched_* and gates.0.*")
        if theirs.startswith("experts."):
            if theirs.endswith("_bias"):
                value = value.reshape(experts, -1)
            else:
                value = value.reshape(experts, -1, value.shape[-1])
                value = value.transpose(1, 2).contiguous() if theirs.endswith("fc2_w") else value
        made[_THEIRS_TO_OURS[theirs]] = value
    return made


def layer_to_theirs(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of ``layer_to_ours``."""
    return {
        _OURS_TO_THEIRS[name]: value.transpose(1, 2).contiguous() if name == "experts.fc2_weight" else value
        for name, value in state.items()
    }


def import_tutel_layer(layer: ResidualMoE, state: Mapping[str, Tensor]) -> None:
    """Load a tutel layer's entries into a merged layer; of whole experts on one process, or already gathered."""
    load(layer, layer_to_ours(without_computed(state)), fresh=r"^core\.", source="the tutel layer")


def export_tutel_layer(layer: ResidualMoE) -> dict[str, Tensor]:
    """A merged layer as tutel's entries. Raises UserError where it is factored (``merge`` it first)."""
    if layer.param != "merged":
        raise UserError("tutel's layout has whole experts: merge the model first")
    return layer_to_theirs({n: v for n, v in layer.state_dict().items() if n.startswith(("experts.", "router."))})


def _by_layer(state: Mapping[str, Tensor], convert: Any, found: re.Pattern[str], join: str) -> dict[str, Tensor]:
    """Convert the entries of each mixture together, the others as they are."""
    layers: dict[str, dict[str, Tensor]] = {}
    made: dict[str, Tensor] = {}
    for name, value in state.items():
        if match := found.match(name):
            layers.setdefault(match[1], {})[match[2]] = value
        else:
            made[name] = value
    for prefix, entries in layers.items():
        made |= {f"{prefix}{join}{name}": value for name, value in convert(entries).items()}
    return made


def to_ours(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Entries of a gathered Swin-MoE under our names."""
    pattern = re.compile(r"((?:.*\.)?)_moe_layer\.(.*)")
    return _by_layer(without_computed(state), layer_to_ours, pattern, "")


def to_theirs(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of ``to_ours``: entries of a ``SwinMoE``."""
    entries = r"experts\.fc[12]_(?:weight|bias)|router\.(?:weight|temperature|projector|sim_matrix).*"
    pattern = re.compile(rf"((?:.*\.)?)({entries})$")
    return _by_layer(state, layer_to_theirs, pattern, _MARK)


def split(state: Mapping[str, Tensor], ranks: int) -> list[dict[str, Tensor]]:
    """A published state dict of whole experts as the files of ``ranks`` ranks: the inverse of ``gather``.

    Raises:
        UserError: experts do not divide evenly over the ranks, nor ranks over the experts.
    """
    files: list[dict[str, Tensor]] = [dict(state) for _ in range(ranks)]
    for name, value in state.items():
        if ".experts.batched_" not in name:
            continue
        experts = len(value)
        if experts % ranks and ranks % experts:
            raise UserError(f"{experts} experts do not divide evenly over {ranks} ranks")
        slices = max(1, ranks // experts)
        if value.shape[1] % slices:
            raise UserError(f"{name}: {value.shape[1]} units do not divide into {slices} slices")
        cut = value.reshape(experts * slices, value.shape[1] // slices, *value.shape[2:])
        for file, part in zip(files, cut.chunk(ranks), strict=True):
            file[name] = part.clone()
    return files


def read_state(source: str | Path) -> tuple[dict[str, Tensor], int]:
    """The gathered state dict of a Swin-MoE checkpoint, published names, and how many rank files it came from.

    Args:
        source: ``x.pth.rank0`` or ``x.pth`` (the other ranks are found beside it), ``x.pth.global``, or one whole file.

    Raises:
        UserError: a rank's file is missing (named), or a file is no checkpoint.
    """
    source = Path(source)
    files = rank_files(source)
    if not files:
        together = source.with_name(source.name + ".global")
        path = together if not source.is_file() and together.is_file() else source
        return unwrap(read(path), str(path)), 1
    states = [unwrap(read(path), str(path)) for path in files]
    master = files[0].with_name(re.sub(r"\.rank\d+$", ".master", files[0].name))
    if master.is_file():
        # Saved with SAVE_MASTER: the ranks' files hold the experts, the master's the rest.
        states[0] = {**unwrap(read(master), str(master)), **states[0]}
    for path, state in zip(files, states, strict=True):
        for name, value in states[0].items():
            if ".experts.batched_" in name and (name not in state or state[name].shape != value.shape):
                raise UserError(f"{path}: {name} is missing or of another shape than in {files[0].name}")
    return gather(states), len(files)


def moe_options(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """The constructor arguments that a Swin-MoE's entries (ours) tell; window and image size they do not."""
    options = network_options(state)
    blocks: list[list[int]] = [[] for _ in options["depths"]]
    for name in state:
        if match := re.match(r"layers\.(\d+)\.blocks\.(\d+)\.mlp\.experts\.fc1_weight", name):
            blocks[int(match[1])].append(int(match[2]))
            options["experts"] = len(state[name])
    options["router"] = "cosine" if any(name.endswith(".router.sim_matrix") for name in state) else "linear"
    options["mlp_fc2_bias"] = any(re.search(r"\.mlp\.fc2\.bias$", name) for name in state)
    return {**options, "moe_blocks": [sorted(numbers) for numbers in blocks]}


def import_swin_moe(model: SwinMoE, content: Any, *, source: str | None = None) -> Report:
    """Load a published Swin-MoE, rank-sharded or whole, into ours; the file's output biases count even if frozen.

    Args:
        model: of the file's widths; its head may have other classes.
        content: a file (see ``read_state``), its content, or a state dict.
        source: what it is called in errors.

    Raises:
        UserError: see ``load``.
    """
    ranks = 1
    if isinstance(content, str | Path):
        source = source or str(content)
        state, ranks = read_state(content)
    else:
        state = unwrap(content, source or "the checkpoint")
    layout = "swin_moe" if ranks == 1 else f"swin_moe ({ranks} rank files)"
    return load(model, to_ours(state), classes=r"^head\.", layout=layout, source=source or "the checkpoint")


def build_swin_moe(source: str | Path, **options: Any) -> tuple[SwinMoE, Report]:
    """A Swin-MoE made to fit a checkpoint, with its weights; give window and image_size where they differ from 12, 192."""
    state, ranks = read_state(source)
    ours = to_ours(state)
    model = SwinMoE(**{**moe_options(ours), **options})
    layout = "swin_moe" if ranks == 1 else f"swin_moe ({ranks} rank files)"
    return model, load(model, ours, classes=r"^head\.", layout=layout, source=str(source))


def export_swin_moe(model: nn.Module, ranks: int = 1) -> list[dict[str, Tensor]]:
    """What tutel's and Swin-MoE's code loads: a state dict a rank, of a ``SwinMoE`` or any model with mixtures.

    Residuals are merged first (in a copy), and a core that only overflow would use is left out: tutel has none.

    Args:
        model: with ``ResidualMoE`` layers.
        ranks: files to split the experts over.

    Raises:
        UserError: the experts do not divide over the ranks, or a layer is a side branch, which tutel does not have.
    """
    merged = copy.deepcopy(model)
    for name, layer in moe_layers(merged):
        if layer.form == "side_branch":
            raise UserError(f"{name} is a side branch: tutel's layout has whole experts only")
    merge(merged)
    for _, layer in moe_layers(merged):
        layer.core = None
    return split(to_theirs({name: value.detach().cpu() for name, value in merged.state_dict().items()}), ranks)


def import_tutel(model: nn.Module, states: Sequence[Mapping[str, Tensor]], source: str = "the checkpoint") -> Report:
    """The inverse of ``export_swin_moe`` for any model with merged mixtures; cores, which tutel has not, stay."""
    return load(model, to_ours(gather(states)), fresh=r"(^|\.)core\.", layout="tutel", source=source)
