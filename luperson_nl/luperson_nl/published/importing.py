"""Other people's weights as our networks: the layout by its names, the architecture by its shapes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from luperson_nl.models.reid import build_reid
from luperson_nl.models.statistics import STATISTICS, Statistics
from luperson_nl.models.trunks import build_trunk
from luperson_nl.published.pretraining import trunk_of_encoder
from luperson_nl.published.reading import NAMES, State, find_state, layout_of, read
from luperson_nl.published.trunks import is_trunk_entry, trunk_name
from shared_utils import UserError
from shared_utils.checkpoint import import_state_dict

_HEAD = re.compile(r"((?:b\d+_)?heads?)\.")
_PRETRAINED_ON = {"pnl": "lmdb_200_20", "simclr": "lmdb_200_20", "moco": "lup"}


@dataclass
class Published:
    """A network brought in, and what it was.

    layout: of ``reading.NAMES``. kind: ``trunk``, ``bot``, ``agw`` or ``mgn``. trunk: its name. options: of
    ``build_reid``. statistics: mean and std of the pixels in 0..1. notes: what the user should know of the import.
    """

    layout: str
    kind: str
    trunk: str
    network: nn.Module
    options: dict[str, Any]
    statistics: Statistics
    used: int = 0
    notes: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        what = self.trunk if self.kind == "trunk" else f"{self.kind} on {self.trunk}"
        return "\n".join([f"{NAMES[self.layout]}: {what}, {self.used} entries used", *self.notes])


def import_published(
    source: str | Path | Mapping[str, Any],
    encoder: str = "q",
    trunk: str | None = None,
    kind: str | None = None,
    *,
    name: str | None = None,
    **options: Any,
) -> Published:
    """The network of a published checkpoint, in evaluation mode.

    Args:
        source: a file, or what one held.
        encoder: of a pre-training file, ``q`` (trained) or ``k`` (its moving mean).
        trunk: ``timm:NAME`` for a model of timm; else it is read off the shapes.
        kind: ``bot`` or ``agw``; None: agw where there are non-local blocks.
        name: of the source in errors; None: its path.
        options: of ``build_reid``, where the file doesn't show them (``pool``, ``classifier``, ``neck_feature``).

    Raises:
        UserError: not a checkpoint, an unknown layout, or an entry of trunk or neck that is missing or of another shape.
    """
    name = name or (str(source) if isinstance(source, str | Path) else "the checkpoint")
    state = find_state(read(source) if isinstance(source, str | Path) else source, name)
    if encoder not in ("q", "k"):
        raise UserError(f"encoder {encoder!r} is not known: use q (trained) or k (its moving mean)")
    if trunk is not None and trunk.startswith("timm:"):
        return _timm(state, trunk, name)
    layout = layout_of(state, name)
    if layout in ("mgn", "fastreid"):
        return _fastreid(state, layout, kind, options, name)
    if options or kind:
        raise UserError(f"{name} is {NAMES[layout]}, which has no {', '.join([*options, *(['kind'] if kind else [])])}")
    if layout == "resnet":
        flat = {entry: value for entry, value in state.items() if is_trunk_entry(entry)}
        prefix = ""
    else:
        prefix = "encoder." if layout == "simclr" else f"encoder_{encoder}."
        flat = trunk_of_encoder(state, prefix[:-1])
        if not flat:
            raise UserError(f"{name} has no entry that begins with {prefix}: take the other encoder")
    found = trunk_name(flat, name)
    network = build_trunk(found)
    used = import_state_dict(network, flat, source=name).matched
    dropped = [entry for entry in state if entry.removeprefix(prefix) not in flat or not entry.startswith(prefix)]
    statistics = STATISTICS[_PRETRAINED_ON.get(layout, "imagenet")]
    notes = _dropped(dropped)
    if layout != "resnet":
        notes.append(f"taken: the trunk of encoder {prefix[:-1]}")
    return Published(layout, "trunk", found, network.eval(), {}, statistics, len(used), notes)


def _timm(state: State, trunk: str, source: str) -> Published:
    network = build_trunk(trunk)
    model: Any = network.model  # type: ignore[union-attr]
    own = model.state_dict()
    fitting = {name: value for name, value in state.items() if name in own}
    used = import_state_dict(model, fitting, source=source).matched
    statistics = (tuple(model.pretrained_cfg["mean"]), tuple(model.pretrained_cfg["std"]))
    dropped = _dropped([name for name in state if name not in own])
    return Published("timm", "trunk", trunk, network.eval(), {}, statistics, len(used), dropped)


def _fastreid(state: State, layout: str, kind: str | None, given: dict[str, Any], source: str) -> Published:
    state, notes = _current_names(state)
    mean, std = state.pop("pixel_mean", None), state.pop("pixel_std", None)
    statistics = STATISTICS["imagenet"]
    if mean is not None and std is not None:
        statistics = (_three(mean), _three(std))
    else:
        notes.append("pixel statistics are not in the file: ImageNet's are assumed, as in fast-reid's own configs")
    if layout == "mgn":
        from luperson_nl.models.mgn import MGN

        kind, flat = "mgn", MGN.join_trunk(state)
    else:
        flat = {name.removeprefix("backbone."): value for name, value in state.items() if name.startswith("backbone.")}
        kind = kind or ("agw" if any(name.startswith("NL_") for name in flat) else "bot")
    trunk = trunk_name(flat, source)
    options = {**_options(state, layout, flat), **given}
    head = "b1_head" if layout == "mgn" else "heads"
    classifier = f"{head}.classifier.weight"
    classes = state[classifier].shape[0] if classifier in state else 1
    network = build_reid(kind, trunk, classes, **options)
    if classifier not in state:
        notes.append("no classifier in the file: a fresh one, which features do not need")
    used = import_state_dict(
        network,
        state,
        optional=lambda name: name.endswith(("num_batches_tracked", "classifier.weight", "classifier.bias")),
        source=source,
    ).matched
    options["num_classes"] = classes
    return Published(layout, kind, trunk, network.eval(), options, statistics, len(used), notes)


def _options(state: State, layout: str, flat: State) -> dict[str, Any]:
    """What names and shapes show of the options of ``build_reid``."""
    head = "b1_head" if layout == "mgn" else "heads"
    first = state.get(f"{head}.bottleneck.0.weight")
    options: dict[str, Any] = {"embedding_dim": first.shape[0] if first is not None and first.dim() == 4 else 0}
    options["extra_bn"] = any(name.startswith("heads_extra_bn") for name in state)
    if f"{head}.pool_layer.p" in state:
        options["pool"] = "gem_learned"
    elif layout == "mgn":
        options["pool"] = "max"
    blocks = [len({name.split(".")[1] for name in flat if name.startswith(f"NL_{stage}.")}) for stage in range(1, 5)]
    if any(blocks):
        options["non_local"] = tuple(blocks)
        options["inner"] = next(value.shape[0] for name, value in flat.items() if name.endswith(".g.weight"))
    return options


def _current_names(state: State) -> tuple[dict[str, Tensor], list[str]]:
    """The fork's names for those of upstream fast-reid and of its older versions."""
    renamed, notes = {}, []
    old = any(".bnneck." in name for name in state)
    for name, value in state.items():
        if found := _HEAD.match(name):
            head, rest = found[1], name[found.end() :]
            if rest == "weight":
                name = f"{head}.classifier.weight"
            elif rest.startswith("bnneck."):
                place = 1 if f"{head}.bottleneck.0.weight" in state else 0
                name = f"{head}.bottleneck.{place}.{rest.removeprefix('bnneck.')}"
        renamed[name] = value
    if old:
        notes.append("the neck is called bnneck in the file, as in older fast-reid: taken as bottleneck")
    return renamed, notes


def _three(values: Tensor) -> tuple[float, float, float]:
    first, second, third = (float(value) / 255 for value in values.flatten().tolist())
    return first, second, third


def _dropped(names: list[str]) -> list[str]:
    """One line that groups what was left out by its beginning."""
    if not names:
        return []
    groups = Counter(name.split(".")[0] for name in names)
    return ["left out: " + ", ".join(f"{group} ({count})" for group, count in groups.items())]
