"""The entry names of each published layout, and how they map onto ours, both ways.

Our Swin has the names of microsoft/Swin-Transformer and our CvT those of microsoft/CvT, so ``swin`` and ``cvt`` map by
identity; timm moves the patch merging one stage down; OpenMMLab (from 0.20) renames nearly all and orders the input of
the patch merging as ``unfold`` does.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, get_args

from torch import Tensor

from rmoe.published.reading import without_computed
from shared_utils import UserError

Layout = Literal["swin", "timm", "openmmlab", "cvt", "swin_moe", "rmoe"]
LAYOUTS = get_args(Layout)
Rules = Sequence[tuple[str, str]]

_OPENMMLAB_TO_OURS: Rules = (
    (r"^patch_embed\.projection\.", "patch_embed.proj."),
    (r"^stages\.", "layers."),
    (r"\.attn\.w_msa\.", ".attn."),
    (r"\.ffn\.layers\.0\.0\.", ".mlp.fc1."),
    (r"\.ffn\.layers\.1\.", ".mlp.fc2."),
)
_OURS_TO_OPENMMLAB: Rules = (
    (r"^patch_embed\.proj\.", "patch_embed.projection."),
    (r"^layers\.", "stages."),
    (r"(blocks\.\d+)\.attn\.", r"\1.attn.w_msa."),
    (r"\.mlp\.fc1\.", ".ffn.layers.0.0."),
    (r"\.mlp\.fc2\.", ".ffn.layers.1."),
)
_MERGING = re.compile(r"\.downsample\.(norm\.(weight|bias)|reduction\.weight)$")


def rename(state: Mapping[str, Tensor], rules: Rules) -> dict[str, Tensor]:
    """The entries under the names that (pattern, replacement) rules make, applied in order."""
    renamed = {}
    for name, value in state.items():
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)
        renamed[name] = value
    return renamed


def recognise(names: Iterable[str], source: str = "the checkpoint") -> Layout:
    """Which layout these entry names (without wrappers' prefixes) are of.

    Raises:
        UserError: none that is known.
    """
    names = set(names)
    if any(".mlp.core.fc1." in name or ".mlp.experts.fc1_" in name for name in names):
        return "rmoe"
    if any("logit_scale" in name for name in names):
        raise UserError(
            f"{source} is of a Swin v2 (it has logit_scale): only Swin v1, Swin-MoE and CvT can be imported"
        )
    if any("._moe_layer." in name for name in names) or any(".cpb_mlp." in name for name in names):
        return "swin_moe"
    if "patch_embed.projection.weight" in names:
        return "openmmlab"
    if "stage0.patch_embed.proj.weight" in names:
        return "cvt"
    if {"patch_embed.proj.weight", "layers.0.blocks.0.attn.relative_position_bias_table"} <= names:
        timm = "layers.0.downsample.norm.weight" not in names and "layers.1.downsample.norm.weight" in names
        return "timm" if timm else "swin"
    raise UserError(
        f"{source} is of no known layout: entries such as {', '.join(sorted(names)[:3])} are neither the official "
        "Swin's, timm's, OpenMMLab's, CvT's nor Swin-MoE's"
    )


def to_ours(state: Mapping[str, Tensor], layout: Layout) -> dict[str, Tensor]:
    """Entries of a Swin or CvT layout under our names; values of the patch merging in our order."""
    state = without_computed(state)
    if layout == "timm":
        return rename(
            {
                re.sub(r"^layers\.(\d+)(\.downsample\.)", lambda m: f"layers.{int(m[1]) - 1}{m[2]}", name): value
                for name, value in state.items()
            },
            ((r"^head\.fc\.", "head."),),
        )
    if layout == "openmmlab":
        renamed = rename(state, _OPENMMLAB_TO_OURS)
        return {n: _from_unfold(value) if _MERGING.search(n) else value for n, value in renamed.items()}
    return dict(state)


def to_theirs(state: Mapping[str, Tensor], layout: Layout) -> dict[str, Tensor]:
    """The inverse of ``to_ours``, of a dense model's entries."""
    if layout == "timm":
        return rename(
            {
                re.sub(r"^layers\.(\d+)(\.downsample\.)", lambda m: f"layers.{int(m[1]) + 1}{m[2]}", name): value
                for name, value in state.items()
            },
            ((r"^head\.", "head.fc."),),
        )
    if layout == "openmmlab":
        ordered = {n: _to_unfold(value) if _MERGING.search(n) else value for n, value in state.items()}
        return rename(ordered, _OURS_TO_OPENMMLAB)
    return dict(state)


def _to_unfold(value: Tensor) -> Tensor:
    """The last axis from four neighbours one after the other to unfold's order: channels outside, neighbours inside."""
    width = value.shape[-1] // 4
    neighbours = value.reshape(*value.shape[:-1], 4, width)[..., [0, 2, 1, 3], :]
    return neighbours.transpose(-1, -2).reshape(value.shape)


def _from_unfold(value: Tensor) -> Tensor:
    """The inverse of ``_to_unfold``."""
    width = value.shape[-1] // 4
    neighbours = value.reshape(*value.shape[:-1], width, 4).transpose(-1, -2)
    return neighbours[..., [0, 2, 1, 3], :].reshape(value.shape)


def network_options(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """The constructor arguments that a state dict under our names tells, of a Swin or a CvT.

    Returns:
        Swin: embed_dim, depths, num_heads, window; CvT: dims, num_heads (64 channels a head), depths; num_classes
        where there is a head.
    """
    options: dict[str, Any] = {}
    if "head.weight" in state:
        options["num_classes"] = state["head.weight"].shape[0]
    if "stage0.patch_embed.proj.weight" in state:
        stages = _count(state, r"^stage(\d+)\.")
        dims = [state[f"stage{stage}.patch_embed.proj.weight"].shape[0] for stage in range(stages)]
        depths = [_count(state, rf"^stage{stage}\.blocks\.(\d+)\.") for stage in range(stages)]
        return {"dims": dims, "num_heads": [dim // 64 for dim in dims], "depths": depths, **options}
    stages = _count(state, r"^layers\.(\d+)\.")
    depths = [_count(state, rf"^layers\.{stage}\.blocks\.(\d+)\.") for stage in range(stages)]
    options |= {"embed_dim": state["patch_embed.proj.weight"].shape[0], "depths": depths}
    table = "layers.{}.blocks.0.attn.relative_position_bias_table"
    if table.format(0) in state:
        options["num_heads"] = [state[table.format(stage)].shape[1] for stage in range(stages)]
        options["window"] = (round(state[table.format(0)].shape[0] ** 0.5) + 1) // 2
    else:
        cpb = "layers.{}.blocks.0.attn.cpb_mlp.2.weight"
        options["num_heads"] = [state[cpb.format(stage)].shape[0] for stage in range(stages)]
    return options


def _count(state: Mapping[str, Tensor], pattern: str) -> int:
    return max((int(found[1]) for name in state if (found := re.match(pattern, name))), default=-1) + 1
