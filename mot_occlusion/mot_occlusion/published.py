"""The authors' checkpoints: OUTrack, FairMOT, CenterNet and CenterTrack files on DLA-34, in and out.

A published file is a pickle of ``{"epoch", "state_dict", "loss_state_dict"?, ...}``, its names possibly behind
``module.``. Our DLA-34 carries the published names, so nothing is renamed; what varies is which heads a file has.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mot_occlusion.models import DLA34, HEADS, HeadedNetwork
from shared_utils import UserError

State = Mapping[str, Tensor]
_TRUNK = ("base.", "dla_up.", "ida_up.")
# The ImageNet classifier that is attached while loading, and CenterTrack's second input: not part of this network.
_IGNORED = ("base.fc.", "base.pre_img_layer.", "base.pre_hm_layer.")
# What only another backbone of FairMOT and CenterNet has.
_FOREIGN = {
    "hrnet_18 (HRNet)": ("stage2.0.branches.", "stage4.0.fuse_layers."),
    "resfpndcn_34 (ResNet with FPN)": ("layer1.0.conv1.", "deconv_layers."),
    "hourglass": ("kps.0.", "pre.0.conv."),
    "yolov5s": ("backbone.0.conv.", "model.0.conv."),
    "dla_34 without deformable convolutions (CenterNet's dlav0)": ("dla_up.ida_0.proj_1.0.",),
}


@dataclass
class PublishedReport:
    """What an import found.

    loaded: number of entries. ignored, initialised: entries of the file left out, and heads that it did not give, with
    the reason or the size. uncertainties: ``s_det`` and ``s_id`` of the losses, where the file has them.
    """

    layout: str
    loaded: int = 0
    ignored: dict[str, str] = field(default_factory=dict)
    initialised: dict[str, str] = field(default_factory=dict)
    uncertainties: dict[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        lines = [f"{self.layout}: {self.loaded} entries loaded"]
        lines += [f"ignored {name}: {reason}" for name, reason in self.ignored.items()]
        lines += [f"initialised {name}: {reason}" for name, reason in self.initialised.items()]
        return "\n".join(lines)


def import_network(
    content: str | Path | Mapping[str, Any], source: str = "the state dict"
) -> tuple[HeadedNetwork, PublishedReport]:
    """The DLA-34 of a published checkpoint, in evaluation mode, and a report of the import.

    Sizes of heads and embeddings follow from the file; heads that it lacks are added, freshly initialised (the occlusion
    heads of a FairMOT file, all heads of a CenterNet file).

    Args:
        content: a file, or what was loaded from one (wrapped or bare state dict).
        source: names the content in errors, where it is not a file.

    Raises:
        UserError: a file that is not a checkpoint, another backbone (named), or a trunk that is not whole or of other
            shapes.
    """
    from shared_utils.checkpoint import import_state_dict, load_tensors

    if isinstance(content, str | Path):
        content, source = load_tensors(content), str(content)
    state = find_state(content, source)
    _refuse_foreign(state, source)
    for entry, tensor in state.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise UserError(f"{source}: {entry} holds values that are not finite: use another checkpoint")

    ours, ignored = _heads(state)
    report = PublishedReport("OUTrack" if "occlusion" in ours else "FairMOT" if ours else "trunk only", ignored=ignored)
    heads = {head: size for head, (size, _) in ours.items()}
    hidden = next((hidden for _, hidden in ours.values()), 256)
    added = [head for head in HEADS if head not in heads]
    network = DLA34({**heads, **{head: HEADS[head] for head in added}}, hidden)
    report.initialised = {head: f"{HEADS[head]} channels, not in the file" for head in added}
    kept = {entry: t for entry, t in state.items() if entry.split(".")[0] in heads or entry.startswith(_TRUNK)}
    kept = {entry: tensor for entry, tensor in kept.items() if not entry.startswith(_IGNORED)}
    absent = tuple(f"{head}." for head in added)
    entries = import_state_dict(
        network,
        kept,
        optional=lambda entry: entry.endswith("num_batches_tracked") or entry.startswith(absent or ("\0",)),
        source=f"{source} (as DLA-34)",
    )
    report.loaded = len(entries.matched)
    losses = content.get("loss_state_dict") if isinstance(content, Mapping) else None
    if isinstance(losses, Mapping):
        report.uncertainties = {key: float(losses[key]) for key in ("s_det", "s_id") if key in losses}
    return network.eval(), report


def export_published(network: HeadedNetwork, uncertainties: Mapping[str, float] | None = None) -> dict[str, Any]:
    """What the published code loads: ``{"epoch", "state_dict", "loss_state_dict"}`` under the published names.

    Raises UserError for a backbone that the published code does not have.
    """
    if not isinstance(network, DLA34):
        raise UserError(f"the published code has no {type(network).__name__}: only DLA-34 exports to its layout")
    state = {name: tensor.detach().cpu().clone() for name, tensor in network.state_dict().items()}
    losses = {name: torch.tensor([value]) for name, value in (uncertainties or {}).items()}
    return {"epoch": 0, "state_dict": state, "loss_state_dict": losses}


def find_state(content: Any, source: str = "the checkpoint") -> dict[str, Tensor]:
    """The state dict inside what a file held, without ``module.`` in front of its names; UserError if there is none."""
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping) or not content or not all(torch.is_tensor(t) for t in content.values()):
        found = ", ".join(map(str, list(content)[:5])) if isinstance(content, Mapping) else type(content).__name__
        raise UserError(
            f"{source} holds no state dict (it holds: {found}): give a file with 'state_dict' or a bare one"
        )
    while all(name.startswith("module.") for name in content):
        content = {name.removeprefix("module."): tensor for name, tensor in content.items()}
    return dict(content)


def _refuse_foreign(state: State, source: str) -> None:
    if any(name.startswith("base.level5.tree1.conv1.") for name in state) and any(
        name.startswith("ida_up.proj_1.conv.conv_offset_mask.") for name in state
    ):
        return
    for backbone, prefixes in _FOREIGN.items():
        if any(name.startswith(prefixes) for name in state):
            raise UserError(f"{source} is a {backbone}; only DLA-34 with deformable convolutions can be imported")
    shown = ", ".join(f"{name} {tuple(tensor.shape)}" for name, tensor in list(state.items())[:3])
    raise UserError(f"{source} is not a DLA-34 with deformable convolutions ({shown}, ... {len(state)} entries in all)")


def _heads(state: State) -> tuple[dict[str, tuple[int, int]], dict[str, str]]:
    """Our heads in the file as (channels, hidden channels), and what of the file is left out, with the reason."""
    heads, ignored = {}, {}
    for prefix in _IGNORED:
        if any(name.startswith(prefix) for name in state):
            ignored[prefix.rstrip(".")] = "not part of this network"
    sizes = {
        name.removesuffix(".2.weight"): (tensor.shape[0], tensor.shape[1])
        for name, tensor in state.items()
        if name.endswith(".2.weight") and name.count(".") == 2 and tensor.dim() == 4
    }
    people = sizes.get("hm", (1, 0))[0] == 1
    for head in {name.split(".")[0] for name in state if not name.startswith(_TRUNK)}:
        if head in HEADS and head in sizes and people:
            heads[head] = sizes[head]
        else:
            size = f"{sizes[head][0]} channels" if head in sizes else "unknown"
            ignored[head] = f"head of another task ({size})"
    return {head: heads[head] for head in HEADS if head in heads}, ignored
