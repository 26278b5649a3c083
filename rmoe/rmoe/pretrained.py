"""``load``: a model from wherever it is, with its classes and its pre- and post-processing. Nothing in a file is run."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from rmoe import published, released
from rmoe.building import M, Mixture, converted, made_backbone, made_classifier
from rmoe.description import Description, build, experts_of
from rmoe.models import Backbone
from rmoe.moe import apply_description, describe, moe_layers
from rmoe.predictors import ImageClassifier, ImageSegmenter, ObjectDetector, Predictor, predictor
from rmoe.published.reading import rank_files
from shared_utils import UserError, checkpoint, files
from shared_utils.checkpoint import ImportReport, import_state_dict

log = logging.getLogger(__name__)

#: The bundled model: RMoE-D of the procedural default, its second feed-forward layer converted to eight experts.
BUNDLED = Path(__file__).parent / "weights" / "mosaic"
_LIGHTNING_PREFIX = "model."
_ENDS = ("norm", "head", "norm0", "norm1", "norm2", "norm3")

__all__ = [
    "BUNDLED",
    "ImageClassifier",
    "ImageSegmenter",
    "ObjectDetector",
    "Predictor",
    "load",
    "load_with_report",
    "start_backbone",
    "started_backbone",
    "started_classifier",
]


def load(source: str | Path | None = None, image_size: int | None = None) -> Predictor:
    """A model, verified, in evaluation mode.

    Args:
        source: None, the bundled model; a run's folder of ``train.py`` or one of its checkpoints; a folder of
            ``save_pretrained``, or a file of ``convert``; a released file of any layout (see ``released.open_released``);
            ``user/model`` on the hub.
        image_size: of a released Swin classifier, see ``open_released``.

    Raises:
        UserError: there is no model in it, or it is damaged; the message names it.
    """
    return load_with_report(source, image_size)[0]


def load_with_report(
    source: str | Path | None = None, image_size: int | None = None
) -> tuple[Predictor, ImportReport | None]:
    """As ``load``, with the report of the import where the source is a released file."""
    if source is not None and not Path(source).is_dir() and rank_files(source):
        # One file a rank: the name before the rank is no file, which ``locate`` would refuse.
        model, description, report = released.open_released(source, image_size)
        return predictor(model, description), report
    path = checkpoint.locate(source, BUNDLED)
    if path.suffix == ".safetensors" and path.with_name("config.json").is_file():
        path = path.parent
    if path.is_dir():
        config, weights = path / "config.json", path / "model.safetensors"
        description = Description.read(files.read_json(config, "description of a model"), str(config))
        return _filled(description, checkpoint.load_tensors(weights), str(weights)), None
    content = published.read(path)
    if isinstance(content, Mapping) and isinstance(content.get("network"), Mapping):
        return _filled(Description.read(content, str(path)), _state(content, str(path)), str(path)), None
    model, description, report = released.from_content(content, str(path), image_size)
    return predictor(model, description), report


def _state(content: Mapping[str, Any], source: str) -> dict[str, Tensor]:
    """The model's entries in a checkpoint of training, or in a file of ``Predictor.save``."""
    state = content.get("state_dict")
    if not isinstance(state, Mapping) or not state:
        raise UserError(f"{source} holds no state_dict: give a checkpoint of train.py or a file of convert.py")
    inside = {n.removeprefix(_LIGHTNING_PREFIX): v for n, v in state.items() if n.startswith(_LIGHTNING_PREFIX)}
    return inside or dict(state)


def _filled(description: Description, state: Mapping[str, Tensor], source: str) -> Predictor:
    model = build(description, source)
    import_state_dict(model, state, source=source)
    return predictor(model, description)


def start_backbone(backbone: nn.Module, source: str | Path) -> ImportReport:
    """Give a fresh dense backbone, or classifier, the weights and mixtures of a model of ours, whatever its head is.

    Args:
        backbone: to be filled in place; where the source has mixtures, the same layers are converted.
        source: see ``load``; of another task too: a classifier's backbone starts a segmenter.

    Returns:
        The report: of a classifier norm and head are dropped, and the norms of a dense backbone start anew.

    Raises:
        UserError: the source is of another architecture.
    """
    given = load(source)
    inside = getattr(given.model, "backbone", given.model)
    if experts := experts_of(inside):
        apply_description(backbone, {**experts, "layers": _fitting(experts["layers"], backbone, str(source))})
    elif any(True for _ in moe_layers(inside)):
        raise UserError(f"{source} is a Swin-MoE, whose attention no other backbone has: it cannot start one")
    roots = {name.split(".")[0] for name in backbone.state_dict()}
    return published.load(
        backbone,
        inside.state_dict(),
        fresh=r"^(norm\d?|head)\.",
        # What only the source's form has: norm and head of a classifier, the norms of a dense backbone.
        drop="|".join(rf"^{name}\." for name in _ENDS if name not in roots) or r"(?!)",
        classes=r"^head\.",
        layout="rmoe",
        source=str(source),
    )


def started_backbone(options: Mapping[str, Any], weights: str | Path | None, mixture: Mixture | None) -> Backbone:
    """The backbone that a training starts from.

    Args:
        options: ``{"name": ..., **options}``, see ``building.made_backbone``.
        weights: a released file of any layout, or any model of ours (see ``load``): a run, an exported folder, a file of
            convert, whose mixtures come with it; None: fresh.
        mixture: what is converted where the weights bring no mixtures.
    """
    return _started(made_backbone, options, weights, mixture)


def started_classifier(options: Mapping[str, Any], weights: str | Path | None, mixture: Mixture | None) -> nn.Module:
    """The same with norm and head; see ``started_backbone``."""
    return _started(made_classifier, options, weights, mixture)


def _started(
    make: Callable[[Mapping[str, Any], str | None], M],
    options: Mapping[str, Any],
    weights: str | Path | None,
    mixture: Mixture | None,
) -> M:
    if weights is None or not _is_ours(weights):
        return converted(make(options, None if weights is None else str(weights)), mixture)
    net = make(options, None)
    report = start_backbone(net, weights)
    log.info("%s: %s", weights, report)
    if not any(True for _ in moe_layers(net)):
        return converted(net, mixture)
    if mixture is not None:
        log.info("%s has mixtures already: they are kept as they are, model.mixture is not used", weights)
    return net


def _is_ours(weights: str | Path) -> bool:
    path = Path(weights)
    if path.is_file() and path.suffix != ".safetensors":
        content = published.read(path)
        return isinstance(content, Mapping) and isinstance(content.get("network"), Mapping)
    return not rank_files(path)


def _fitting(layers: Mapping[str, Any], backbone: nn.Module, source: str) -> dict[str, Any]:
    known = {name for name, _ in backbone.named_modules()}
    if missing := [name for name in layers if name not in known]:
        raise UserError(f"{source} has experts in {missing[0]}, which {type(backbone).__name__} does not have")
    return dict(layers)


def described(given: Predictor) -> dict[str, Any]:
    """What is in a model, for printing: task, architecture, classes, mixtures."""
    layers = describe(given.model)["layers"]
    return {
        "task": given.task,
        "architecture": given.description.architecture,
        "classes": len(given.class_names),
        "mixtures": len(layers),
        "experts": max((options["experts"] for options in layers.values()), default=0),
    }
