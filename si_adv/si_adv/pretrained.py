"""``load``: the victim of whatever holds one, from the bundled model to a hub repository. Nothing in a file is run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from shared_utils import UserError, checkpoint, files
from shared_utils.checkpoint import import_state_dict, load_tensors
from si_adv.published import PublishedReport, import_content, read_checkpoint
from si_adv.victim import Victim

_WEIGHTS = Path(__file__).parent / "weights"
#: The bundled victim where none is named: a PointNet trained on the procedural shapes.
BUNDLED = _WEIGHTS / "pointnet_procedural"
# In a checkpoint of the LightningModule, the prefix of the victim's entries and the arguments that describe it.
_LIGHTNING_PREFIX = "victim."
_DESCRIPTION = ("architecture", "num_classes", "class_names", "num_points", "with_normals")


def load(source: str | Path | None = None, num_classes: int | None = None, **options: Any) -> Victim:
    """The victim of a source, verified and in evaluation mode.

    Args:
        source: None, the bundled PointNet; the name of a bundled victim (see ``bundled``), unless a file has it; a run folder
            of ``train.py`` (``runs/name`` or a version in it); a Lightning ``.ckpt``; a folder or ``.safetensors`` of
            ``Victim.save_pretrained``; a published ``.pth``, ``.t7`` or ``.tar``; an int8-quantised ``.npz`` (see
            ``published.read_quantised``); ``user/model`` on the hub.
        num_classes: where given, what the victim must have.
        options: further arguments of the architecture's constructor, such as ``fps_start``.

    Raises:
        UserError: there is no victim in it, it is damaged, or it has another number of classes.
    """
    if str(source) in bundled() and not Path(str(source)).exists():
        source = bundled()[str(source)]
    # An npz is read to its end, checksums included, when its weights are; ``locate`` knows torch and safetensors.
    path = Path(source) if source is not None and Path(source).suffix == ".npz" else checkpoint.locate(source, BUNDLED)
    if path.suffix == ".safetensors" and path.with_name("config.json").is_file():
        path = path.parent
    if path.is_dir():
        victim = _load_exported(path, options)
    else:
        content = read_checkpoint(path)
        if isinstance(content, Mapping) and isinstance(content.get("hyper_parameters"), Mapping):
            victim = _load_lightning(content, str(path), options)
        else:
            victim = _wrap(*import_content(content, source=str(path), **options), str(path), options)
    if num_classes is not None and victim.num_classes != num_classes:
        raise UserError(f"{path} has {victim.num_classes} classes and {num_classes} were expected: use another victim")
    return victim.eval()


def bundled() -> dict[str, Path]:
    """The victims that come with the package by name, ``dgcnn`` for the folder ``dgcnn_procedural``."""
    return {folder.name.removesuffix("_procedural"): folder for folder in sorted(_WEIGHTS.glob("*_procedural"))}


#: ``load`` under the name that says what it loads, for ``from si_adv import load_victim``.
load_victim = load


def load_several(text: str | None, device: torch.device | str = "cpu") -> dict[str, Victim]:
    """Victims by name from ``"source,name=source"``; see ``load``. None: the bundled one.

    Without a name a victim is called after the end of its path.

    Raises:
        UserError: two of one name.
    """
    if text is None:
        return {BUNDLED.name: load().to(device)}
    victims: dict[str, Victim] = {}
    for part in filter(None, map(str.strip, text.split(","))):
        name, source = part.split("=", 1) if "=" in part else (Path(part).stem, part)
        if name in victims:
            raise UserError(f"two victims are called {name}: name them, as in a={source}")
        victims[name] = load(source).to(device)
    if not victims:
        raise UserError("no victim given: name a checkpoint, or several with commas between")
    return victims


def load_one(text: str | None, device: torch.device | str = "cpu") -> Victim:
    """The victim of a verb that takes one; UserError where several are named."""
    victims = list(load_several(text, device).values())
    if len(victims) > 1:
        raise UserError(f"one victim is expected, {len(victims)} are given: {text}")
    return victims[0]


def _load_exported(folder: Path, options: dict[str, Any]) -> Victim:
    config, weights = folder / "config.json", folder / "model.safetensors"
    facts = files.read_json(config, "config of an exported victim")
    if not isinstance(facts, Mapping):
        raise UserError(f"{config} is not the config of an exported victim: export the victim again")
    victim = _describe({name: facts.get(name) for name in (*_DESCRIPTION, "options")}, options, str(config))
    import_state_dict(victim, load_tensors(weights), source=str(weights))
    return victim


def _load_lightning(content: Mapping[str, Any], source: str, options: dict[str, Any]) -> Victim:
    facts = {name: content["hyper_parameters"].get(name) for name in _DESCRIPTION}
    state = content.get("state_dict", {})
    state = {n.removeprefix(_LIGHTNING_PREFIX): t for n, t in state.items() if n.startswith(_LIGHTNING_PREFIX)}
    if not state:
        raise UserError(
            f"{source} holds no entry that begins with {_LIGHTNING_PREFIX!r}: give a checkpoint of train.py"
        )
    victim = _describe(facts, options, source)
    import_state_dict(victim.model, state, source=source)
    return victim


def _describe(facts: Mapping[str, Any], options: dict[str, Any], source: str) -> Victim:
    """A victim with fresh weights from the facts of a file; those that are None keep their default."""
    missing = [name for name in ("architecture", "num_classes") if facts.get(name) is None]
    if missing:
        raise UserError(
            f"{source} does not say the victim's {' and '.join(missing)}: give a file of train.py or export.py"
        )
    known = {name: value for name, value in facts.items() if value is not None}
    known["options"] = {**known.get("options", {}), **options}
    return Victim(**known)


def _wrap(model: nn.Module, report: PublishedReport, source: str, options: dict[str, Any]) -> Victim:
    """The victim of an imported network, described by what its entries showed."""
    if report.num_classes is None:
        raise UserError(f"{source} holds a {report.architecture}, which is not a classifier: give a victim's file")
    facts = {"with_normals": report.with_normals, "options": {**report.options, **options}}
    victim = Victim(report.architecture, report.num_classes, **facts)
    victim.model = model
    return victim
