"""Released segmentation and detection models: what their two kinds of file have in common."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from rmoe.models import Backbone, CvTBackbone, SwinBackbone
from rmoe.moe.layer import moe_layers
from rmoe.published.layouts import Layout, network_options, recognise, to_ours, to_theirs
from rmoe.published.reading import read, unwrap, without_computed
from shared_utils import UserError

_PREFIX = "backbone."


def open_whole(content: Any, source: str | None, needed: str, kind: str) -> tuple[dict[str, Tensor], str]:
    """The entries of a released file as they are called there, and what the file is called in errors.

    Args:
        content: a file, its content or a state dict.
        source: what it is called; None: the file's name.
        needed: an entry's beginning that every file of the kind has.
        kind: of model, for the error.

    Raises:
        UserError: the file is not of that kind.
    """
    if isinstance(content, str | Path):
        source = source or str(content)
        content = read(content)
    source = source or "the checkpoint"
    state = without_computed(unwrap(content, source))
    if not any(name.startswith(needed) for name in state) or not any(name.startswith(_PREFIX) for name in state):
        raise UserError(
            f"{source} is no released {kind} (no entry begins with {needed!r} and with {_PREFIX!r}): it has "
            f"{', '.join(sorted(state)[:3])}, ..."
        )
    return state, source


def class_names(content: Any) -> list[str] | None:
    """The classes that a released file names in its ``meta``; None where it names none."""
    content = read(content) if isinstance(content, str | Path) else content
    meta = content.get("meta") if isinstance(content, Mapping) else None
    names = meta.get("CLASSES") if isinstance(meta, Mapping) else None
    return [str(name) for name in names] if isinstance(names, list | tuple) and names else None


def split_backbone(state: Mapping[str, Tensor], source: str) -> tuple[dict[str, Tensor], dict[str, Tensor], Layout]:
    """The backbone's entries under our names (no prefix), the other entries as they are, and the backbone's layout."""
    inside = {name.removeprefix(_PREFIX): value for name, value in state.items() if name.startswith(_PREFIX)}
    rest = {name: value for name, value in state.items() if not name.startswith(_PREFIX)}
    layout = recognise(inside, source)
    if layout in ("swin_moe", "rmoe"):
        raise UserError(f"the backbone of {source} has experts: it is not a released dense model")
    return to_ours(inside, layout), rest, layout


def with_prefix(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The backbone's entries under their names in the whole model."""
    return {_PREFIX + name: value for name, value in state.items()}


def make_backbone(state: Mapping[str, Tensor], options: Mapping[str, Any] | None) -> Backbone:
    """The backbone that entries under our names are of; ``options`` win over what the entries tell."""
    told = {name: value for name, value in network_options(state).items() if name != "num_classes"}
    options = {**told, **(options or {})}
    return CvTBackbone(**options) if "dims" in told else SwinBackbone(**options)


def dense_entries(model: nn.Module, layout: Layout) -> dict[str, Tensor]:
    """The entries of a dense model with the backbone's in a published layout.

    Raises:
        UserError: the model has experts, for which the released layouts have no names.
    """
    found = [name for name, _ in moe_layers(model)]
    if found:
        raise UserError(f"{found[0]} has experts, which a released layout has no names for: make the model dense first")
    state = {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}
    inside = {name.removeprefix(_PREFIX): value for name, value in state.items() if name.startswith(_PREFIX)}
    rest = {name: value for name, value in state.items() if not name.startswith(_PREFIX)}
    return {**with_prefix(to_theirs(inside, layout)), **rest}
