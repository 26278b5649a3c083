"""How the authors' checkpoints are laid out, and how they map onto our modules, both ways.

A released generator is ``{"netG": state dict}`` with RAFT inside under ``spynet.``; a discriminator is ``{"netD": ...}``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from old_films_rtn.models.discriminator import TemporalPatchDiscriminator
from old_films_rtn.models.raft import RAFT
from old_films_rtn.models.rtn import RTN, GuidedAggregation
from old_films_rtn.models.swin import RestorationTransformer, SwinBlock
from shared_utils import UserError, checkpoint
from shared_utils.checkpoint import ImportReport, import_state_dict

TRANSFORMER_RULES = [
    (r"patch_embed\.norm\.", "embed_norm."),
    (r"layers\.(\d+)\.residual_group\.blocks\.", r"groups.\1.blocks."),
    (r"layers\.(\d+)\.conv\.", r"groups.\1.conv."),
    (r"conv_before_upsample\.0\.", "conv_before_upsample."),
    (r"conv_up1\.", "conv_up."),
]
AGGREGATION_RULES = [
    (r"conv2d_projection_head\.", "embedding."),
    (r"conv2d_1\.", "gate_hidden."),
    (r"conv2d_2\.", "gate."),
]
# The decoder's names first: a transformer, too, has a ``conv_last``.
GENERATOR_RULES = [
    (r"^concate\.", "fusion."),
    (r"^up1\.up_conv\.", "refine.0."),
    (r"^up2\.up_conv\.", "refine.1."),
    (r"^conv_hr\.", "refine.2."),
    (r"^conv_last\.", "output."),
    (r"^(forward|backward)_resblocks\.", r"\1_transformer."),
    (r"^Forward_Aggregation\.", "forward_aggregation."),
    (r"^Backward_Aggregation\.", "backward_aggregation."),
    *TRANSFORMER_RULES,
    *AGGREGATION_RULES,
]
PUBLISHED_NAMES = [
    (r"^fusion\.", "concate."),
    (r"^refine\.0\.", "up1.up_conv."),
    (r"^refine\.1\.", "up2.up_conv."),
    (r"^refine\.2\.", "conv_hr."),
    (r"^output\.", "conv_last."),
    (r"^(forward|backward)_transformer\.", r"\1_resblocks."),
    (r"^forward_aggregation\.", "Forward_Aggregation."),
    (r"^backward_aggregation\.", "Backward_Aggregation."),
    (r"embed_norm\.", "patch_embed.norm."),
    (r"groups\.(\d+)\.blocks\.", r"layers.\1.residual_group.blocks."),
    (r"groups\.(\d+)\.conv\.", r"layers.\1.conv."),
    (r"conv_before_upsample\.", "conv_before_upsample.0."),
    (r"conv_up\.", "conv_up1."),
    (r"embedding\.", "conv2d_projection_head."),
    (r"gate_hidden\.", "conv2d_1."),
    (r"gate\.", "conv2d_2."),
]
"""The generator's rules the other way: from our names to theirs."""
DISCRIMINATOR_RULES = [
    (r"\.weight_orig$", ".parametrizations.weight.original"),
    (r"\.weight_([uv])$", r".parametrizations.weight.0.\1"),
]
TORCHVISION_RAFT_RULES = [
    (r"^feature_encoder\.", "fnet."),
    (r"^context_encoder\.", "cnet."),
    (r"^(fnet|cnet)\.conv\.", r"\1.conv2."),
    (r"^(fnet|cnet)\.convnormrelu\.0\.", r"\1.conv1."),
    (r"^(fnet|cnet)\.convnormrelu\.1\.", r"\1.norm1."),
    (r"\.convnormrelu(\d)\.0\.", r".conv\1."),
    (r"\.convnormrelu(\d)\.1\.", r".norm\1."),
    (r"\.motion_encoder\.convcorr(\d)\.0\.", r".encoder.convc\1."),
    (r"\.motion_encoder\.convflow(\d)\.0\.", r".encoder.convf\1."),
    (r"\.motion_encoder\.conv\.0\.", ".encoder.conv."),
    (r"\.recurrent_block\.convgru(\d)\.conv([zrq])\.", r".gru.conv\2\1."),
    (r"^mask_predictor\.convrelu\.0\.", "update_block.mask.0."),
    (r"^mask_predictor\.conv\.", "update_block.mask.2."),
]
# Derived from the size alone, and rebuilt.
REBUILT = re.compile(r"\.(attn_mask|relative_position_index)$")


class Loaded(NamedTuple):
    """What a checkpoint holds: the network, and RAFT where it is inside."""

    rtn: RTN
    raft: RAFT | None


def state_of(content: Any, source: str, key: str = "netG") -> dict[str, Tensor]:
    """The state dict of a file's content: bare, or under ``key`` or ``state_dict``; without ``module.`` prefixes.

    Raises UserError where there is none.
    """
    for name in (key, "state_dict"):
        if isinstance(content, Mapping) and isinstance(content.get(name), Mapping):
            content = content[name]
    if not isinstance(content, Mapping) or not content or not all(isinstance(v, Tensor) for v in content.values()):
        found = f" (it holds {', '.join(map(str, list(content)[:5]))})" if isinstance(content, Mapping) else ""
        raise UserError(
            f"{source} holds no state dict{found}: expected {{'{key}': state dict}} or the state dict itself"
        )
    return {name.removeprefix("module."): tensor for name, tensor in content.items()}


def refuse_relatives(state: Mapping[str, Tensor], source: str) -> None:
    """Raise UserError, by name, for checkpoints of models that are mistaken for this one."""
    names = list(state)
    if any("mamba" in name.lower() or re.search(r"\.(A_logs?|x_proj\w*|dt_proj\w*)(\.|$)", name) for name in names):
        raise UserError(f"{source} is a checkpoint of MambaOFR, another model: give one of RTN (net_G_200000.pth)")
    if any(re.search(r"deform|dcn|conv_offset", name) for name in names):
        raise UserError(
            f"{source} is a checkpoint of RRTN (deformable alignment), another model: give one of RTN (net_G_200000.pth)"
        )
    if any(name.startswith("conv.0.") for name in names) and not any("resblocks" in name for name in names):
        raise UserError(f"{source} is a discriminator: restoring needs the generator (net_G_200000.pth)")


def without_aliases(state: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
    """Drop ``*.norm3.*`` of RAFT, a second name of ``*.downsample.1.*``, and entries that are rebuilt.

    Raises UserError where the two names hold different tensors, or a stored attention mask is not what is rebuilt.
    """
    kept = {}
    for name, tensor in state.items():
        if ".norm3." in name:
            twin = name.replace(".norm3.", ".downsample.1.")
            if twin not in state:
                kept[twin] = tensor
            elif not torch.equal(state[twin], tensor):
                raise UserError(
                    f"{source}: {name} and {twin} are one tensor in RAFT, here they differ: download it again"
                )
        elif not REBUILT.search(name):
            kept[name] = tensor
    return kept


def transformer_options(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """The constructor arguments of a ``RestorationTransformer``, read from a published state dict's shapes."""
    depths: dict[int, int] = {}
    for name in state:
        if found := re.match(r"layers\.(\d+)\.residual_group\.blocks\.(\d+)\.", name):
            group, block = int(found[1]), int(found[2])
            depths[group] = max(depths.get(group, 0), block + 1)
    width, inner = state["conv_second.weight"].shape[:2]
    block = "layers.0.residual_group.blocks.0."
    table = state[block + "attn.relative_position_bias_table"]
    return {
        "channels": state["conv_first.weight"].shape[1],
        "width": width,
        "depths": [depths[group] for group in sorted(depths)],
        "num_heads": table.shape[1],
        "window": (round(table.shape[0] ** 0.5) + 1) // 2,
        "mlp_ratio": state[block + "mlp.fc1.weight"].shape[0] / width,
        "inner": inner,
    }


def import_transformer(state: Mapping[str, Tensor], source: str = "the state dict") -> RestorationTransformer:
    """R of a published state dict (``forward_resblocks.`` taken off)."""
    model = RestorationTransformer(**transformer_options(state))
    import_state_dict(model, without_aliases(state, source), TRANSFORMER_RULES, source=source)
    return model.eval()


def import_swin_block(state: Mapping[str, Tensor], shift: int, source: str = "the state dict") -> SwinBlock:
    """One Swin block of a published state dict."""
    table = state["attn.relative_position_bias_table"]
    width = state["norm1.weight"].shape[0]
    window = (round(table.shape[0] ** 0.5) + 1) // 2
    model = SwinBlock(width, table.shape[1], window, shift, state["mlp.fc1.weight"].shape[0] / width)
    import_state_dict(model, without_aliases(state, source), source=source)
    return model.eval()


def import_aggregation(state: Mapping[str, Tensor], source: str = "the state dict") -> GuidedAggregation:
    """Guided aggregation of a published state dict (``Forward_Aggregation.`` taken off)."""
    channels, frame_channels = state["conv2d_projection_head.weight"].shape[:2]
    model = GuidedAggregation(channels, frame_channels, state["conv2d_1.weight"].shape[0])
    import_state_dict(model, state, AGGREGATION_RULES, source=source)
    return model.eval()


def import_raft(state: Mapping[str, Tensor], source: str = "the state dict") -> RAFT:
    """RAFT (large) of a state dict in the authors' layout or torchvision's.

    Raises UserError for anything else, the small model included.
    """
    state = without_aliases({name.removeprefix("module."): tensor for name, tensor in state.items()}, source)
    if state.get("fnet.conv2.weight", torch.empty(256)).shape[0] == 128 or any(
        ".convgru." in name or ".gru.convz." in name for name in state
    ):
        raise UserError(f"{source} is the small RAFT, which has another layout: give the large one (raft-sintel.pth)")
    model = RAFT()
    import_state_dict(model, state, TORCHVISION_RAFT_RULES, source=source)
    return model


def import_generator(state: Mapping[str, Tensor], source: str = "the state dict") -> tuple[Loaded, ImportReport]:
    """The generator of a published state dict, with RAFT where it is inside.

    Raises UserError, with the names, where anything is missing, unexpected or of another shape.
    """
    refuse_relatives(state, source)
    state = without_aliases(state, source)
    flow = {name.removeprefix("spynet."): tensor for name, tensor in state.items() if name.startswith("spynet.")}
    rest = {name: tensor for name, tensor in state.items() if not name.startswith("spynet.")}
    one = {
        name.removeprefix("forward_resblocks."): tensor
        for name, tensor in rest.items()
        if name.startswith("forward_resblocks.")
    }
    try:
        options = transformer_options(one)
        options = {name: options[name] for name in ("channels", "width", "depths", "num_heads")}
    except (KeyError, ZeroDivisionError):
        names = ", ".join(list(state)[:4])
        raise UserError(
            f"{source} is not a generator of RTN (its entries begin {names}): give net_G_200000.pth, or a run of train.py"
        ) from None
    frame_channels = rest.get("conv_last.weight", torch.empty(3)).shape[0]
    rtn = RTN(**options, frame_channels=frame_channels)
    report = import_state_dict(rtn, rest, GENERATOR_RULES, source=source)
    raft = import_raft(flow, f"RAFT in {source}") if flow else None
    return Loaded(rtn.eval(), raft), report


def import_discriminator(state: Mapping[str, Tensor], source: str = "the state dict") -> TemporalPatchDiscriminator:
    """The discriminator of a published state dict, with spectral norm as the old hook stored it."""
    first = state.get("conv.0.weight_orig")
    if first is None:
        raise UserError(f"{source} is not a discriminator of RTN: it has no conv.0.weight_orig")
    model = TemporalPatchDiscriminator(first.shape[1], version=1 if "conv.10.weight" in state else 2)
    import_state_dict(model, state, DISCRIMINATOR_RULES, source=source)
    return model.eval()


def vgg19_features(state: Mapping[str, Tensor], source: str = "the state dict") -> nn.Sequential:
    """The layers of VGG19 up to ReLU 5_1, from torchvision's state dict (``vgg19-dcbb9e9d.pth``)."""
    widths = (64, 64, "pool", 128, 128, "pool", 256, 256, 256, 256, "pool", 512, 512, 512, 512, "pool", 512)
    layers: list[nn.Module] = []
    channels = 3
    for width in widths:
        if width == "pool":
            layers.append(nn.MaxPool2d(2, 2))
        else:
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
            channels = width
    model = nn.Sequential(*layers)
    wanted = {
        name.removeprefix("features."): tensor
        for name, tensor in state.items()
        if name.startswith("features.") and int(name.split(".")[1]) < len(layers)
    }
    import_state_dict(model, wanted, source=source)
    return model.eval().requires_grad_(False)


def load_raft(path: str | Path) -> RAFT:
    """RAFT (large) of a file in the authors' layout, torchvision's, or inside a generator's checkpoint."""
    path = Path(path)
    state = state_of(checkpoint.load_tensors(path), str(path))
    for prefix in ("spynet.", "raft."):
        if inside := {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}:
            return import_raft(inside, f"RAFT in {path}")
    return import_raft(state, str(path))


def published_state(rtn: RTN) -> dict[str, Tensor]:
    """The state dict in the published names.

    Raises UserError for a network whose output is not the published one.
    """
    if not rtn.tanh_residual:
        raise UserError("the published code has only networks with the tanh output: this one was trained without it")
    state = {}
    for name, tensor in rtn.state_dict().items():
        for pattern, replacement in PUBLISHED_NAMES:
            name = re.sub(pattern, replacement, name)
        state[name] = tensor
    return state
