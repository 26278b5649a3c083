"""How the checkpoints of MOI, EI, REI and deepinv's demo are laid out, and how they map onto ours, both ways."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from incomplete_sensing.operators import OperatorFamily
from incomplete_sensing.reconstructor import Reconstructor
from incomplete_sensing.torch_files import read_published
from shared_utils import UserError
from shared_utils.checkpoint import ImportReport, import_state_dict

Origin = Literal["moi", "ei", "rei", "deepinv"]

# EI and REI keep each block in a submodule, and always hold a fifth level; deepinv's demo keeps the net in another one.
RULES: dict[str, list[tuple[str, str]]] = {
    "moi": [(r"^module\.", "")],
    "ei": [(r"^module\.", ""), (r"^((?:Up_)?[Cc]onv\d)\.conv\.", r"\1."), (r"^(Up\d)\.up\.", r"\1.")],
    "deepinv": [(r"^module\.", ""), (r"^backbone_net\.", "")],
}
RULES["rei"] = RULES["ei"]
FIFTH_LEVEL = re.compile(r"^(Conv5|Up5|Up_conv5)\.")


def _state_of(content: Any, source: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """(state dict, the options stored beside it)."""
    if isinstance(content, Mapping) and "state_dict" in content:
        options = content.get("args") or {}
        options = vars(options) if isinstance(options, argparse.Namespace) else dict(options)
        return dict(content["state_dict"]), options
    if isinstance(content, Mapping) and content and all(isinstance(value, Tensor) for value in content.values()):
        return dict(content), {}
    raise UserError(f"{source} holds no state dict: expected {{'state_dict': ...}} or the state dict itself")


def guess_origin(names: Sequence[str]) -> Origin:
    """Which code wrote these entry names. Raises UserError when it is none of the known."""
    names = [name.removeprefix("module.") for name in names]
    if any(name.startswith("backbone_net.") for name in names):
        return "deepinv"
    if any(re.match(r"Conv1\.conv\.", name) for name in names):
        return "ei"
    if any(name.startswith(("encoder.0.", "Conv1.0.")) for name in names):
        return "moi"
    raise UserError(f"entries such as {', '.join(names[:3])} belong to none of MOI, EI, REI and deepinv's demo")


def published_network(state: Mapping[str, Tensor], origin: Origin, options: Mapping[str, Any]) -> dict[str, Any]:
    """Our description of the network that a renamed state dict belongs to, for ``incomplete_sensing.models``.

    options: what the weights do not tell: ``residual``, ``circular_padding``, ``cat``, ``compact``; the published
    value where left out (all true; EI's and REI's compact = 4, which never runs the fifth level).
    """
    residual = bool(options.get("residual", True))
    if "encoder.0.weight" in state:
        width, dim_input = state["encoder.0.weight"].shape
        dim_hid = len(state["encoder.2.weight"])
        return {"name": "autoencoder", "dim_input": dim_input, "dim_hid": dim_hid, "residual": residual, "width": width}
    if "Conv1.0.weight" not in state:
        raise UserError(f"entries such as {', '.join(list(state)[:3])} are neither the published AE nor the U-Net")
    levels = max(int(found[1]) for name in state if (found := re.match(r"Conv(\d)\.", name)))
    circular = options.get("circular_padding", origin != "deepinv")
    where = "all" if origin == "deepinv" else "first"
    return {
        "name": "unet",
        "in_channels": state["Conv1.0.weight"].shape[1],
        "out_channels": state["Conv_1x1.weight"].shape[0],
        "residual": residual,
        "circular_padding": circular if isinstance(circular, str) else where if circular else "none",
        "cat": bool(options.get("cat", True)),
        "base_channels": state["Conv1.0.weight"].shape[0],
        "levels": levels,
        "norm": "batch" if "Conv1.1.weight" in state and state["Conv1.1.weight"].ndim == 1 else "none",
    }


class PublishedReport(ImportReport):
    """An import's report, with what was ``dropped`` on purpose."""

    dropped: list[str] = []  # noqa: RUF012 (set once, on the instance)

    def __str__(self) -> str:
        lines = super().__str__()
        if self.dropped:
            lines += (
                f"; {len(self.dropped)} dropped: the fifth level ({self.dropped[0]}, ...), which the network never runs"
            )
        return lines


def import_published(
    source: str | Path | Mapping[str, Any],
    origin: Origin | None = None,
    operators: OperatorFamily | None = None,
    image_shape: Sequence[int] | None = None,
    name: str = "the checkpoint",
    **options: Any,
) -> tuple[Reconstructor, PublishedReport]:
    """A published checkpoint as a ``Reconstructor``, with a report of what was matched and dropped.

    Args:
        source: a file, its content, or a state dict.
        origin: whose it is; guessed from the entry names where not given.
        operators: the published ones (``read_published_operators``), or others; None: the network alone.
        image_shape: of the images, where there are no operators that determine it; an AE's pixels make a square.
        name: of a content, in error messages.
        options: see ``published_network``; they win over the options stored in the file.

    Raises:
        UserError: it is not such a checkpoint.
    """
    named = str(source) if isinstance(source, str | Path) else name
    content = read_published(source) if isinstance(source, str | Path) else source
    state, stored = _state_of(content, named)
    origin = origin or guess_origin(list(state))
    chosen = {
        **{key: stored[key] for key in ("residual", "circular_padding", "cat", "compact") if key in stored},
        **options,
    }
    renamed: dict[str, Tensor] = {}
    for name, value in state.items():
        for pattern, replacement in RULES[origin]:
            name = re.sub(pattern, replacement, name)
        renamed[name] = value
    dropped = []
    if origin in ("ei", "rei") and int(chosen.get("compact", 4)) == 4:
        dropped = [name for name in renamed if FIFTH_LEVEL.match(name)]
        renamed = {name: value for name, value in renamed.items() if not FIFTH_LEVEL.match(name)}
    network = published_network(renamed, origin, chosen)
    start = "adjoint" if origin == "deepinv" else "pinv"
    if operators is not None:
        reconstructor = Reconstructor.of(operators, network, start=start)
    else:
        reconstructor = Reconstructor(network, image_shape or _image_shape(network), start=start)
    matched = import_state_dict(reconstructor.network, renamed, source=named)
    report = PublishedReport(**vars(matched))
    report.dropped = dropped
    return reconstructor.eval(), report


def _image_shape(network: Mapping[str, Any]) -> tuple[int, int, int]:
    if network["name"] == "unet":
        # A convolutional network takes any size; this one is only what it is described by without operators.
        return network["in_channels"], 2 ** network["levels"], 2 ** network["levels"]
    side = round(network["dim_input"] ** 0.5)
    return (1, side, side) if side * side == network["dim_input"] else (1, 1, network["dim_input"])


def export_published(reconstructor: Reconstructor, epoch: int = 0) -> dict[str, Any]:
    """What the published code's test script loads: {epoch, state_dict}, published names. Raises UserError for other nets."""
    options = reconstructor.network_options
    if options["name"] not in ("autoencoder", "unet"):
        raise UserError(
            f"the published code has no network {options['name']}: only autoencoder and unet can be exported so"
        )
    state = {name: value.detach().cpu().clone() for name, value in reconstructor.network.state_dict().items()}
    return {"epoch": epoch, "state_dict": state}
