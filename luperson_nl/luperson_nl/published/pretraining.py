"""Whole files of pre-training, PNL's and MoCo's: encoder pair, heads, queue and prototypes, both ways."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from luperson_nl.pnl import PNL
from luperson_nl.published.reading import find_state, layout_of
from luperson_nl.published.trunks import is_trunk_entry, trunk_name
from shared_utils import UserError
from shared_utils.checkpoint import import_state_dict

_BUFFERS = {
    "pnl": {
        "queue": "objective.queue.keys",
        "queue_id": "objective.queue.ids",
        "queue_ptr": "objective.queue.pointer",
        "prototypes": "objective.prototypes.rows",
    },
    "moco": {"queue": "queue.keys", "queue_ptr": "queue.pointer"},
}
_HEADS = {
    "pnl": {"embed_fc": "embed_fc", "classifier": "classifier", "fc1": "fc1", "fc2": "fc2"},
    "moco": {"fc.0": "fc1", "fc.2": "fc2"},
}
_ENCODERS = ("encoder_q", "encoder_k")


def import_pretraining(content: Any, source: str = "the checkpoint", **settings: Any) -> tuple[PNL, dict[str, Tensor]]:
    """The whole training state of a file of PNL or MoCo.

    Args:
        content: what the file held.
        source: its name in errors.
        settings: of ``PNL``, which no file holds (temperature, momenta, threshold, ...).

    Returns:
        The model, and what it has no place for: the classifier that the published key encoder carries unused. Give it
        to ``export_pretraining`` for the same file again.

    Raises:
        UserError: another kind of file, or one that is not whole.
    """
    state = find_state(content, source)
    layout = layout_of(state, source)
    if layout not in _BUFFERS:
        raise UserError(f"{source} is not a file of pre-training by PNL or MoCo: give it to pretrained.load")
    if layout == "moco" and "encoder_q.fc.2.weight" not in state:
        raise UserError(
            f"{source} is a MoCo without a hidden layer in its head, which is not trained here: take its trunk"
        )
    ours, rest = {}, {}
    for name, value in state.items():
        (ours if (new := _ours(name, layout)) else rest)[new or name] = value
    pointer, keys = ("queue_ptr", "queue")
    if pointer in state:
        # The published code leaves K, not 0, after a batch that ends exactly at the queue's end.
        ours[_BUFFERS[layout][pointer]] = state[pointer].reshape(1) % state[keys].shape[1]
    if "queue_id" in state:
        ours[_BUFFERS[layout]["queue_id"]] = state["queue_id"].reshape(-1)
    flat = {name.removeprefix("encoder_q."): value for name, value in state.items() if name.startswith("encoder_q.")}
    flat = {name: value for name, value in flat.items() if is_trunk_entry(name)}
    first = "fc1" if layout == "pnl" else "fc.0"
    facts: dict[str, Any] = {
        "dim": state["queue"].shape[0] if "queue" in state else 128,
        "queue_size": state["queue"].shape[1] if "queue" in state else 65536,
        "hidden": state[f"encoder_q.{first}.weight"].shape[0],
        "num_classes": state["prototypes"].shape[0] if "prototypes" in state else 1,
        "cls_dim": state["encoder_q.embed_fc.weight"].shape[0] if "encoder_q.embed_fc.weight" in state else None,
    }
    model = PNL(trunk_name(flat, source), method=layout, **{**facts, **settings})

    def optional(name: str) -> bool:
        return name.endswith(("num_batches_tracked", "num_steps")) or name == "queue.ids"

    import_state_dict(model, ours, optional=optional, source=source)
    return model, rest


def export_pretraining(
    model: PNL, rest: Mapping[str, Tensor] | None = None, epoch: int = 0, arch: str = "resnet50"
) -> dict[str, Any]:
    """A training file as the published code resumes from: ``epoch``, ``arch`` and ``state_dict`` under ``module.``.

    Args:
        model: of method ``pnl`` or ``moco``.
        rest: the classifier of the key encoder; None: the query encoder's.
        epoch: the epoch that training would go on with.
        arch: torchvision's name of the trunk.

    Raises:
        UserError: another method.
    """
    if model.method not in _BUFFERS:
        raise UserError(f"a model pre-trained by {model.method} has no published layout of its own: export its trunk")
    own = model.state_dict()
    state: dict[str, Tensor] = {}
    for encoder in _ENCODERS:
        for name, value in own.items():
            if not name.startswith(f"{encoder}."):
                continue
            name = name.removeprefix(f"{encoder}.")
            if name.startswith("trunk."):
                state[f"module.{encoder}.{name.removeprefix('trunk.')}"] = value
            for published, ours in _HEADS[model.method].items():
                if name.startswith(f"{ours}."):
                    state[f"module.{encoder}.{published}.{name.removeprefix(f'{ours}.')}"] = value
    for published, ours in _BUFFERS[model.method].items():
        state[f"module.{published}"] = own[ours].reshape(-1, 1) if published == "queue_id" else own[ours]
    if model.method == "pnl":
        for head in ("embed_fc", "classifier"):
            for name in [name for name in state if name.startswith(f"module.encoder_q.{head}.")]:
                key = name.replace("encoder_q", "encoder_k")
                state[key] = (rest or {}).get(key.removeprefix("module."), state[name])
    return {
        "epoch": epoch,
        "arch": arch,
        "state_dict": {name: value.detach().cpu().clone() for name, value in state.items()},
    }


def restore(content: Mapping[str, Tensor], source: str = "the checkpoint") -> PNL:
    """A pre-training model of ours from its entries alone (of a Lightning checkpoint: below ``model.``).

    Raises:
        UserError: it is not one, or not whole.
    """
    state = {name.removeprefix("model."): value for name, value in content.items()}
    inner = "encoder_q.trunk."
    flat = {name.removeprefix(inner): value for name, value in state.items() if name.startswith(inner)}
    layout = "pnl" if "objective.queue.keys" in state else "moco" if "queue.keys" in state else None
    if layout is None or not flat:
        raise UserError(f"{source} holds no pre-training by PNL or MoCo (no queue): export its trunk, --to torchvision")
    if not is_trunk_entry(next(iter(flat))):
        raise UserError(f"{source} is of a trunk that no published file holds: export its trunk, --to timm")
    queue = state[_BUFFERS[layout]["queue"]]
    embed = state.get("encoder_q.embed_fc.weight")
    model = PNL(
        trunk_name(flat, source),
        state["objective.prototypes.rows"].shape[0] if layout == "pnl" else 1,
        layout,
        dim=queue.shape[0],
        cls_dim=None if embed is None else embed.shape[0],
        queue_size=queue.shape[1],
        hidden=state["encoder_q.fc1.weight"].shape[0],
    )
    import_state_dict(model, state, source=source)
    return model


def _ours(name: str, layout: str) -> str | None:
    """Our name of an entry; None where the model has no place for it."""
    if name in _BUFFERS[layout]:
        return _BUFFERS[layout][name]
    encoder, _, rest = name.partition(".")
    if encoder not in _ENCODERS:
        return None
    if is_trunk_entry(rest):
        return f"{encoder}.trunk.{rest}"
    for published, ours in _HEADS[layout].items():
        if rest.startswith(f"{published}."):
            if encoder == "encoder_k" and ours in ("embed_fc", "classifier"):
                return None
            return f"{encoder}.{ours}.{rest.removeprefix(f'{published}.')}"
    return None


def trunk_of_encoder(state: Mapping[str, Tensor], encoder: str) -> dict[str, Tensor]:
    """The trunk inside one encoder of a pre-training file.

    Args:
        state: without prefixes.
        encoder: ``encoder_q``, ``encoder_k``, or ``encoder`` of SimCLR.
    """
    found = {name.removeprefix(f"{encoder}."): value for name, value in state.items() if name.startswith(f"{encoder}.")}
    return {name: value for name, value in found.items() if is_trunk_entry(name)}
