"""A detector from every form in which a network lies on disk or on the hub."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from torch import nn

from mot_occlusion.detector import Detector
from mot_occlusion.models.tracking_model import TrackingModel
from mot_occlusion.published import import_network
from shared_utils import UserError
from shared_utils.checkpoint import import_state_dict, load_tensors, locate

#: The bundled network: the small one, trained on the procedural crowd by the default recipe.
BUNDLED = Path(__file__).parent / "weights" / "small_crowd"
_FACTS = ("backbone", "heads", "input_size", "untrained", "head_channels", "uncertainties")


def load(
    source: str | Path | None = None,
    device: str = "auto",
    precision: Literal["32", "bf16", "16"] = "32",
    input_size: tuple[int, int] | None = None,
) -> Detector:
    """The detector of a network, ready for frames. Nothing in a file is run, and files are verified.

    Args:
        source: None for the bundled network; a run of ``train.py`` (its folder, or that of the run's name: the newest
            version); a ``.ckpt``; a folder or ``model.safetensors`` of ``save_pretrained``; a published ``.pth``; the id
            ``user/model`` of a model on the Hugging Face hub.
        device: ``auto`` or a torch device.
        precision: ``32``, ``bf16`` or ``16`` (autocast).
        input_size: (height, width) of the network input, multiples of 32; what it was trained for where None.

    Raises:
        UserError: there is no network in it; the message names the file and the reason.
    """
    return Detector(load_model(source), device, precision, input_size)


def load_model(source: str | Path | None = None) -> TrackingModel:
    """The network itself, in evaluation mode; arguments and errors as of ``load``."""
    path = locate(source, BUNDLED)
    if path.is_dir() or (path.suffix == ".safetensors" and path.with_name("config.json").is_file()):
        return _load_exported(path if path.is_dir() else path.parent).eval()
    content = load_tensors(path)
    if isinstance(content, Mapping) and isinstance(content.get("hyper_parameters"), Mapping):
        return _load_lightning(content, str(path)).eval()
    return import_model(content, str(path))[0]


def import_model(content: Any, name: str = "the checkpoint") -> tuple[TrackingModel, str]:
    """A model of a published file's content (see ``published.import_network``), and the report of the import."""
    network, report = import_network(content, source=name)
    first = next(layer for layer in network.get_submodule("hm").modules() if isinstance(layer, nn.Conv2d))
    hidden = first.out_channels
    model = TrackingModel("dla34", network.heads, (608, 1088), tuple(report.initialised), hidden, report.uncertainties)
    model.network = network
    return model.eval(), str(report)


def initialise(network: nn.Module, source: str | Path, losses: nn.Module | None = None) -> str:
    """Start ``network`` from what ``load`` reads: every entry of equal name and shape is taken over.

    Args:
        network: the network to train.
        source: as of ``load``.
        losses: a ``TrackingLoss``, whose uncertainties are taken over too, where the source has them.

    Returns:
        A report of what was taken over and what was not.

    Raises:
        UserError: the source is of another backbone.
    """
    model = load_model(source)
    if type(model.network) is not type(network):
        raise UserError(f"{source} holds a {model.backbone}, the network to train is a {type(network).__name__}")
    own = network.state_dict()
    state = {
        name: tensor
        for name, tensor in model.network.state_dict().items()
        if name in own and own[name].shape == tensor.shape and name.split(".")[0] not in model.untrained
    }
    network.load_state_dict(state, strict=False)
    if losses is not None and model.uncertainties:
        for name, value in model.uncertainties.items():
            nn.init.constant_(losses.get_parameter(name), value)
    fresh = sorted({name.split(".")[0] for name in own if name not in state})
    return f"{source}: {len(state)} entries taken over; initialised afresh: {', '.join(fresh) or 'nothing'}"


def _load_exported(folder: Path) -> TrackingModel:
    config, weights = folder / "config.json", folder / "model.safetensors"
    try:
        facts = json.loads(config.read_text())
        model = TrackingModel(**{name: facts[name] for name in _FACTS if name in facts})
    except FileNotFoundError:
        raise UserError(f"{config} not found: an exported model is config.json and model.safetensors") from None
    except (json.JSONDecodeError, UnicodeDecodeError, TypeError) as error:
        raise UserError(f"{config} is not the description of an exported model ({error}): export it again") from None
    import_state_dict(model, load_tensors(weights), source=str(weights))
    return model


def _load_lightning(content: Mapping[str, Any], source: str) -> TrackingModel:
    facts, state = content["hyper_parameters"], content.get("state_dict", {})
    inside = {name.removeprefix("network."): t for name, t in state.items() if name.startswith("network.")}
    if not inside or "backbone" not in facts or "hm.2.weight" not in inside:
        raise UserError(f"{source} is not a checkpoint of this project's train.py: give one, or a published file")
    sizes = {name.split(".")[0]: t for name, t in inside.items() if name.endswith(".2.weight") and name.count(".") == 2}
    heads = {name: tensor.shape[0] for name, tensor in sizes.items()}
    uncertainties = {name: float(state[f"loss.{name}"]) for name in ("s_det", "s_id") if f"loss.{name}" in state}
    model = TrackingModel(facts["backbone"], heads, facts["input_size"], (), sizes["hm"].shape[1], uncertainties)
    import_state_dict(model.network, inside, source=source)
    return model
