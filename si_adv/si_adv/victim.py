"""``Victim``: a classifier with what is needed to use it; ``load_victim`` makes one of any file that holds a classifier."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from shared_utils import UserError
from shared_utils.checkpoint import Exportable, import_state_dict, load_tensors
from si_adv.models import build_victim
from si_adv.published import PublishedReport, import_content, read_checkpoint

#: The victim that travels with the package: a PointNet trained on the procedural shapes.
PACKAGED = Path(__file__).parent / "weights" / "pointnet_procedural"
# In a checkpoint of the LightningModule, the prefix of the victim's entries and the arguments that describe it.
_LIGHTNING_PREFIX = "victim."
_DESCRIPTION = ("architecture", "num_classes", "class_names", "num_points", "with_normals")


class Victim(nn.Module, Exportable):
    """A classifier and its facts: (B, 3, N) clouds, (B, 6, N) with normals, -> logits or log-probabilities (B, C).

    architecture: a name of ``si_adv.models.VICTIMS``. class_names: in the order of the outputs (default ``class_0``,
    ...). num_points: of the clouds it was trained for. options: further constructor arguments of the architecture.
    ``save_pretrained(folder)`` writes ``model.safetensors`` and ``config.json``, ``from_pretrained(folder)`` reads them.

    Raises UserError for an unknown architecture and for class names that do not number ``num_classes``.
    """

    def __init__(
        self,
        architecture: str,
        num_classes: int,
        class_names: Sequence[str] | None = None,
        num_points: int = 1024,
        with_normals: bool = False,
        options: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        class_names = [f"class_{index}" for index in range(num_classes)] if class_names is None else list(class_names)
        if len(class_names) != num_classes:
            raise UserError(f"{len(class_names)} class names for {num_classes} classes: give one name a class")
        self.architecture, self.num_classes, self.class_names = architecture, num_classes, class_names
        self.num_points, self.with_normals = num_points, with_normals
        self.model = build_victim(architecture, num_classes, with_normals, **(options or {}))

    def forward(self, clouds: Tensor) -> Tensor:
        return self.model(clouds)


def load_victim(path: str | Path | None = None, num_classes: int | None = None, **options: Any) -> Victim:
    """The victim of a file or folder, in evaluation mode. Nothing in the file is run.

    path: a folder or ``.safetensors`` of ``Victim.save_pretrained``; a Lightning ``.ckpt`` of ``train.py``; a published
    ``.pth``, ``.t7`` or ``.tar``; an int8-quantised ``.npz`` (see ``published.read_quantised``); None: the victim that
    travels with the package. num_classes: where given, what the victim must have. options: further arguments of the
    architecture's constructor, such as ``fps_start``.

    Raises UserError, naming the file and the reason, when there is no victim in it or it has another number of classes.
    """
    path = PACKAGED if path is None else Path(path)
    if path.is_dir() or (path.suffix == ".safetensors" and path.with_name("config.json").is_file()):
        victim = _load_exported(path if path.is_dir() else path.parent, options)
    else:
        content = read_checkpoint(path)
        if isinstance(content, Mapping) and isinstance(content.get("hyper_parameters"), Mapping):
            victim = _load_lightning(content, str(path), options)
        else:
            model, report = import_content(content, source=str(path), **options)
            if report.num_classes is None:
                raise UserError(f"{path} holds a {report.architecture}, which is no classifier: give a victim's file")
            victim = _wrap(model, report, options)
    if num_classes is not None and victim.num_classes != num_classes:
        raise UserError(f"{path} has {victim.num_classes} classes and {num_classes} were expected: use another victim")
    return victim.eval()


def _load_exported(folder: Path, options: dict[str, Any]) -> Victim:
    config = folder / "config.json"
    if not config.is_file():
        raise UserError(f"{config} not found: {folder} is no exported victim (model.safetensors and config.json)")
    try:
        facts = json.loads(config.read_text())
        facts = {name: facts.get(name) for name in (*_DESCRIPTION, "options")}
    except (json.JSONDecodeError, UnicodeDecodeError, AttributeError) as error:
        raise UserError(f"{config} is not the JSON of an exported victim ({error}): export the victim again") from error
    victim = _describe(facts, options, str(config))
    weights = folder / "model.safetensors"
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


def _wrap(model: nn.Module, report: PublishedReport, options: dict[str, Any]) -> Victim:
    victim = Victim(
        report.architecture,
        report.num_classes,
        with_normals=report.with_normals,
        options={**report.options, **options},
    )
    victim.model = model
    return victim
