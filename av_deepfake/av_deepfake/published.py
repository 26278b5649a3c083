"""How the published files are laid out, and how they map onto our modules, both ways. Nothing of a file is executed.

lipforensics_ff.pth       {"model": state dict}: front-end, trunk and multi-scale TCN of one class
lrw_resnet18_*.pth(.tar)  {"model_state_dict" | "state_dict": ...}: the same of 500 words, or with another temporal network; of
                          the audio model a one-dimensional trunk
RealForensics             state dicts of the audio encoder ("model.conv1") and of the transformer ("projection_layer")
syncnet_v2.model          state dict of SyncNet

Our networks carry the published names; what differs is a prefix.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from av_deepfake.models.audio import MelEncoder, WaveformEncoder
from av_deepfake.models.frontend import VideoFrontend
from av_deepfake.models.mstcn import MouthTCN
from av_deepfake.models.syncnet import SyncNet
from av_deepfake.models.transformer import PublishedEncoder
from shared_utils import UserError
from shared_utils.checkpoint import find_state, import_state_dict, load_tensors

Layout = Literal["lips", "frontend", "waveform", "mel", "transformer", "syncnet"]
Content = MouthTCN | VideoFrontend | WaveformEncoder | MelEncoder | PublishedEncoder | SyncNet
NAMES: dict[Layout, str] = {
    "lips": "a network of front-end, trunk and multi-scale TCN",
    "frontend": "a front-end and trunk",
    "waveform": "an audio encoder of waveforms",
    "mel": "an audio encoder of log-mel spectrograms",
    "transformer": "the transformer encoder of RealForensics",
    "syncnet": "SyncNet",
}
_KINDS: dict[type, Layout] = {
    MouthTCN: "lips",
    VideoFrontend: "frontend",
    WaveformEncoder: "waveform",
    MelEncoder: "mel",
    PublishedEncoder: "transformer",
    SyncNet: "syncnet",
}
#: What published names begin with and ours do not.
_PREFIX: dict[Layout, str] = {"mel": "model."}
_WRAPPERS = ("model", "model_state_dict", "state_dict")
_HEAD_WIDTH = 64
_LISTED = 5


@dataclass
class Published:
    """What a published file held.

    layout: which kind of file. content: the network, in evaluation mode. left_out: entries that are not used.
    notes: what the user should know.
    """

    layout: Layout
    content: Content
    left_out: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [NAMES[self.layout], *self.notes]
        if self.left_out:
            parts = sorted({".".join(name.split(".")[:2]) for name in self.left_out})
            lines.append(f"left out: {len(self.left_out)} entries ({_few(parts)})")
        return "\n".join(lines)


def import_published(
    source: str | Path | Mapping[str, Any], heads: int | None = None, *, name: str | None = None
) -> Published:
    """What a published file holds, as ours.

    Args:
        source: a file, or what one held.
        heads: of a transformer, whose entries do not show it; heads of 64, as published, where None.
        name: of the source in errors; None: its path.

    Raises:
        UserError: not a checkpoint, of no known layout, or an entry that is missing, unexpected or of another shape.
    """
    name = name or (str(source) if isinstance(source, str | Path) else "the checkpoint")
    state = find_state(load_tensors(source) if isinstance(source, str | Path) else source, name, _WRAPPERS)
    left_out: list[str] = []
    if "trunk.conv1.weight" in state:  # the audio model of the lip-reading zoo
        left_out = [entry for entry in state if not entry.startswith("trunk.")]
        state = {entry.removeprefix("trunk."): value for entry, value in state.items() if entry.startswith("trunk.")}
    layout = layout_of(state)
    if layout is None:
        raise UserError(
            f"{name} has the names of no known layout (it begins with {_few(list(state))}): give a file of LipForensics, of "
            "the lip-reading zoo, RealForensics' audio encoder or transformer, or SyncNet"
        )
    if layout == "frontend":
        left_out = [entry for entry in state if entry.startswith("tcn.")]
        state = {entry: value for entry, value in state.items() if not entry.startswith("tcn.")}
    try:
        network, notes = _build(layout, state, heads)
    except (KeyError, IndexError, ValueError, ZeroDivisionError) as error:
        raise UserError(f"{name} is not the whole of {NAMES[layout]} ({error}): get it from its source again") from None
    prefix = _PREFIX.get(layout, "")
    report = import_state_dict(
        network, {entry.removeprefix(prefix): value for entry, value in state.items()}, source=name
    )
    return Published(layout, network.eval(), left_out, [*notes, f"{len(report.matched)} entries used"])


def export_published(network: Content) -> dict[str, Any]:
    """What ``torch.save`` writes for the published code of a network.

    Raises:
        UserError: the entries would be read as another network: a front-end without the published pooling.
    """
    layout = _KINDS[type(network)]
    if type(network) is VideoFrontend and not (network.config["stem_pooling"] and network.config["grid"] == 1):
        raise UserError(
            "this front-end has no published form (it keeps more of the picture: stem_pooling, grid), and the published code "
            "would compute something else from its weights: export it with --to pretrained"
        )
    prefix = _PREFIX.get(layout, "")
    state = {prefix + entry: value.detach().cpu().clone() for entry, value in network.state_dict().items()}
    return {"model": state} if layout == "lips" else state


def layout_of(state: Mapping[str, Tensor]) -> Layout | None:
    """Which layout the entries have; None: no known one."""
    if "frontend3D.0.weight" in state:
        return "lips" if any(entry.startswith("tcn.mb_ms_tcn.") for entry in state) else "frontend"
    if "conv1.weight" in state and state["conv1.weight"].ndim == 3:
        return "waveform"
    signs: tuple[tuple[Layout, str], ...] = (
        ("syncnet", "netcnnaud.0.weight"),
        ("transformer", "projection_layer.weight"),
        ("mel", "model.conv1.weight"),
    )
    return next((layout for layout, sign in signs if sign in state), None)


def _build(layout: Layout, state: Mapping[str, Tensor], heads: int | None) -> tuple[Content, list[str]]:
    """A network of the size that the entries show, with notes for the user."""
    if layout == "syncnet":
        return SyncNet(), []
    if layout == "lips":
        return _lips(state)
    if layout == "frontend":
        return VideoFrontend(**_front(state)), _assumed(state)
    if layout == "transformer":
        return _transformer(state, heads)
    stages = _stages(state, _PREFIX.get(layout, ""))
    return (MelEncoder if layout == "mel" else WaveformEncoder)(**stages), []


def _lips(state: Mapping[str, Tensor]) -> tuple[MouthTCN, list[str]]:
    block = "tcn.mb_ms_tcn.network.0.cbcr0_"
    kernels = [value.shape[2] for entry, value in state.items() if re.fullmatch(rf"{block}\d+\.conv\.weight", entry)]
    classes = state["tcn.tcn_output.weight"].shape[0]
    network = MouthTCN(
        classes=classes,
        width=state[f"{block}0.conv.weight"].shape[0],
        kernels=kernels,
        layers=_count(state, r"tcn\.mb_ms_tcn\.network\.(\d+)\."),
        **_front(state),
    )
    return network, [f"{classes} class{'es' if classes > 1 else ': positive means fake'}", *_assumed(state)]


def _transformer(state: Mapping[str, Tensor], heads: int | None) -> tuple[PublishedEncoder, list[str]]:
    layer = "transformer.layers.0."
    inner, dim = state[f"{layer}0.fn.to_qkv.weight"].shape
    width = inner // 3
    heads = heads or width // _HEAD_WIDTH
    with_head = "mlp_head.3.weight" in state
    network = PublishedEncoder(
        in_dim=state["projection_layer.weight"].shape[1],
        dim=dim,
        out_dim=state["mlp_head.3.weight"].shape[0] if with_head else dim,
        heads=heads,
        mlp_dim=state[f"{layer}1.fn.net.0.weight"].shape[0],
        depth=_count(state, r"transformer\.layers\.(\d+)\."),
        norm="bn" if f"{layer}1.norm.1.weight" in state else "ln",
        use_mlp_head=with_head,
        final_bn="final_bn.1.weight" in state,
        dim_head=width // heads,
    )
    return network, [f"{heads} heads, which the file does not show"]


def _front(state: Mapping[str, Tensor]) -> dict[str, Any]:
    activation = "prelu" if _slopes(state) else "swish"
    return {
        "channels": state["frontend3D.0.weight"].shape[0],
        **_stages(state, "trunk."),
        "activation": activation,
    }


def _slopes(state: Mapping[str, Tensor]) -> bool:
    """Whether the entries hold the slopes of PReLU, which swish has not."""
    return "frontend3D.2.weight" in state


def _assumed(state: Mapping[str, Tensor]) -> list[str]:
    return [] if _slopes(state) else ["its non-linearity is taken for swish: the file has no slopes of PReLU"]


def _stages(state: Mapping[str, Tensor], prefix: str) -> dict[str, list[int]]:
    """Widths and numbers of blocks of a residual trunk."""
    name = re.escape(prefix) + "layer"
    layers = range(1, _count(state, rf"{name}(\d+)\."))
    widths = [state[f"{prefix}layer{layer}.0.conv1.weight"].shape[0] for layer in layers]
    return {"widths": widths, "blocks": [_count(state, rf"{name}{layer}\.(\d+)\.") for layer in layers]}


def _count(state: Mapping[str, Tensor], pattern: str) -> int:
    """One more than the largest number of a module."""
    return 1 + max((int(found[1]) for entry in state if (found := re.match(pattern, entry))), default=0)


def _few(names: list[str]) -> str:
    return ", ".join(names[:_LISTED]) + (f" and {len(names) - _LISTED} more" if len(names) > _LISTED else "")
