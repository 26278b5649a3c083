"""How the published files are laid out, and how they map onto our modules, both ways. Nothing of a file is executed.

ICT_Base.pth                {"epoch", "model": state dict of the network}; a copy may carry "module."
head_latest.pth             state dict of the margin head, {"kernel": (dim, identities)}
ref.pkl                     {"inner": (m, dim), "outer": (m, dim)}, without names
Resnet50_Final.pth,
mobilenet0.25_Final.pth     state dict of RetinaFace, with "module."
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ict_deepfake.faces.retinaface import network_of
from ict_deepfake.margin import Kind, MarginHead
from ict_deepfake.models.ict import ICT
from ict_deepfake.models.retinaface import RetinaFace
from ict_deepfake.references import ReferenceSet, from_published
from shared_utils import UserError
from shared_utils.checkpoint import find_state, import_state_dict, load_tensors

Layout = Literal["ict", "head", "references", "retinaface"]
NAMES: dict[Layout, str] = {
    "ict": "an Identity Consistency Transformer",
    "head": "a margin head",
    "references": "a reference set without names",
    "retinaface": "a RetinaFace detector",
}
#: An entry that only this layout has.
_SIGNATURES: tuple[tuple[Layout, str], ...] = (
    ("ict", "outer_token"),
    ("retinaface", "fpn.output1.0.weight"),
    ("head", "kernel"),
)
_WRAPPERS = ("model", "state_dict")
# The published network has heads of this width; its entries do not show it.
_HEAD_WIDTH = 32


@dataclass
class Published:
    """What a published file held.

    layout: which kind of file. content: a network in evaluation mode (ICT, RetinaFace, MarginHead) or a ReferenceSet.
    notes: what the user should know.
    """

    layout: Layout
    content: ICT | RetinaFace | MarginHead | ReferenceSet
    notes: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return "\n".join([NAMES[self.layout], *self.notes])


def import_published(
    source: str | Path | Mapping[str, Any],
    num_heads: int | None = None,
    kind: Kind = "cosface",
    *,
    name: str | None = None,
) -> Published:
    """What a published file holds, as ours.

    Args:
        source: a file, or what one held.
        num_heads: of an ICT, whose entries do not show it; heads of 32, as published, where None.
        kind: of a margin head, which its file does not say.
        name: of the source in errors; None: its path.

    Raises:
        UserError: not a checkpoint, of no known layout, or an entry that is missing, unexpected or of another shape.
    """
    name = name or (str(source) if isinstance(source, str | Path) else "the checkpoint")
    content = load_tensors(source) if isinstance(source, str | Path) else source
    if isinstance(content, Mapping) and {"inner", "outer"} <= set(content):
        return Published("references", from_published(content, name), ["persons are numbered: the file has no names"])
    state = find_state(content, name, _WRAPPERS)
    layout = next((layout for layout, entry in _SIGNATURES if entry in state), None)
    if layout == "ict":
        return _ict(state, num_heads, name)
    if layout == "retinaface":
        network = network_of(state, name)
        return Published(layout, network, [f"on {network.backbone}, {len(state)} entries used"])
    if layout == "head":
        head = MarginHead(kind, *state["kernel"].shape)
        import_state_dict(head, state, source=name)
        return Published(layout, head.eval(), [f"{head.classes} identities, taken for {kind}"])
    raise UserError(f"{name} has the names of no known layout. {_difference(state)}")


def export_ict(model: ICT, epoch: int = 0) -> dict[str, Any]:
    """What ``torch.save`` writes for the published code: the layout of ``ICT_Base.pth``.

    Raises:
        UserError: the network has a stem that the published code does not know.
    """
    if model.config["stem"] != "linear":
        raise UserError(
            "the published code has no convolutional stem: export with --to pretrained, onnx or torchscript"
        )
    return {"epoch": epoch, "model": _plain(model)}


def export_references(references: ReferenceSet) -> dict[str, Tensor]:
    """The layout of ``ref.pkl``; names and sources are lost."""
    return {"inner": references.inner.clone(), "outer": references.outer.clone()}


def export_retinaface(network: RetinaFace) -> dict[str, Tensor]:
    """The layout of ``Resnet50_Final.pth`` and ``mobilenet0.25_Final.pth``."""
    return {f"module.{entry}": value for entry, value in _plain(network).items()}


def _plain(module: nn.Module) -> dict[str, Tensor]:
    return {entry: value.detach().cpu().clone() for entry, value in module.state_dict().items()}


def _ict(state: Mapping[str, Tensor], num_heads: int | None, name: str) -> Published:
    config, notes = config_of(state, name), []
    if num_heads is not None:
        config["num_heads"] = num_heads
    elif config["embed_dim"] % _HEAD_WIDTH:
        raise UserError(
            f"{name} has tokens of length {config['embed_dim']}, which heads of {_HEAD_WIDTH} do not divide: say "
            "--num_heads, which the file does not show"
        )
    else:
        config["num_heads"] = config["embed_dim"] // _HEAD_WIDTH
        notes.append(f"{config['num_heads']} heads are assumed ({_HEAD_WIDTH} wide, as published)")
    model = ICT(**config)
    report = import_state_dict(model, state, source=name)
    shown = ", ".join(f"{key} {config[key]}" for key in ("img_size", "patch_size", "embed_dim", "depth"))
    return Published("ict", model.eval(), [f"{shown}; {len(report.matched)} entries used", *notes])


def config_of(state: Mapping[str, Tensor], name: str = "the checkpoint") -> dict[str, Any]:
    """The arguments of ``ICT`` that the shapes of its entries show: all but the number of heads.

    Raises:
        UserError: an entry that shows one is missing or of an impossible shape.
    """
    try:
        dim = state["outer_token"].shape[2]
        depth = 1 + max(int(entry.split(".")[1]) for entry in state if re.match(r"blocks\.\d+\.", entry))
        ratio = state["blocks.0.mlp.fc1.weight"].shape[0] / dim
        positions = state["pos_embed"].shape[1]
        convolutions = {int(entry.split(".")[2]) for entry in state if entry.startswith("patch_embed.convolutions.")}
        # A stage of the convolutional stem is a convolution, a norm and an activation, and halves.
        patch = 2 ** (max(convolutions) // 3 + 1) if convolutions else state["patch_embed.proj.weight"].shape[2]
    except (KeyError, IndexError, ValueError, ZeroDivisionError):
        raise UserError(f"{name} is not a whole Identity Consistency Transformer. {_difference(state)}") from None
    grid = math.isqrt(max(positions - 2, 0))
    if grid < 1 or grid**2 + 2 != positions:
        raise UserError(f"{name}: pos_embed has {positions} rows, not those of a square of patches and of two tokens")
    bias, stem = "blocks.0.attn.qkv.bias" in state, "conv" if convolutions else "linear"
    config = {"img_size": grid * patch, "patch_size": patch, "embed_dim": dim, "depth": depth}
    return {**config, "mlp_ratio": ratio, "qkv_bias": bias, "stem": stem}


def _difference(state: Mapping[str, Tensor]) -> str:
    """Which names of the nearest known network are missing, and which are unexpected."""
    with torch.device("meta"):
        known = {"combface_base_patch8_112": ICT(), "RetinaFace on mobile0.25": RetinaFace("mobile0.25")}
    expected = {label: set(network.state_dict()) for label, network in known.items()}
    closest = max(expected, key=lambda label: len(expected[label] & set(state)))
    missing = [entry for entry in known[closest].state_dict() if entry not in state]
    unexpected = [entry for entry in state if entry not in expected[closest]]
    return (
        f"Closest is {closest}: missing {_few(missing)}; unexpected {_few(unexpected)}. Give ICT_Base.pth, ref.pkl, a "
        "margin head or a RetinaFace file"
    )


def _few(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "") if names else "none"
