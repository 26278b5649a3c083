"""What a file holds: the state dict inside its wrappers, and whose names these are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from shared_utils import UserError, checkpoint

State = Mapping[str, Tensor]
_WRAPPERS = ("state_dict", "model", "model_state_dict", "state_dict_ema", "net")
_PREFIXES = ("module.", "_orig_mod.", "model.")

#: The layouts by the entries that only they have, in the order in which they are looked for.
SIGNATURES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("pnl", ("encoder_q.conv1.weight", "encoder_q.fc1.weight")),
    ("pnl", ("encoder_k.conv1.weight", "encoder_k.fc1.weight")),
    ("moco", ("encoder_q.conv1.weight",)),
    ("moco", ("encoder_k.conv1.weight",)),
    ("simclr", ("encoder.conv1.weight", "encoder.layer1.0.conv1.weight")),
    ("mgn", ("backbone.0.weight", "b1.1.0.conv1.weight", "b33_head.bottleneck.0.weight")),
    ("fastreid", ("backbone.conv1.weight", "backbone.layer1.0.conv1.weight")),
    ("resnet", ("conv1.weight", "layer1.0.conv1.weight", "layer4.0.conv1.weight")),
)
#: What each layout is, for messages.
NAMES = {
    "pnl": "a pre-training file of PNL",
    "moco": "a pre-training file of MoCo",
    "simclr": "a pre-training file of SimCLR or SupCon",
    "mgn": "an MGN of fast-reid",
    "fastreid": "a BoT or AGW of fast-reid",
    "resnet": "a ResNet under torchvision's names",
    "timm": "a model of timm",
}


def read(path: str | Path) -> Any:
    """The content of a weights file; tensors and plain values only, nothing of it runs."""
    return checkpoint.load_tensors(path)


def find_state(content: Any, source: str = "the checkpoint") -> dict[str, Tensor]:
    """The state dict inside what a file held, see ``checkpoint.find_state``."""
    return checkpoint.find_state(content, source, _WRAPPERS, _PREFIXES)


def layout_of(state: State, source: str = "the checkpoint") -> str:
    """The name of the layout in ``SIGNATURES``.

    Raises:
        UserError: it is none of them; some of the entries are named.
    """
    for layout, names in SIGNATURES:
        if all(name in state for name in names):
            return layout
    shown = ", ".join(f"{name} {tuple(tensor.shape)}" for name, tensor in list(state.items())[:3])
    known = ", ".join(what for layout, what in NAMES.items() if layout != "timm")
    raise UserError(
        f"{source} has the names of no known layout ({shown}, ... {len(state)} in all); known: {known}; for a model of "
        "timm, name it as the trunk (timm:NAME)"
    )
