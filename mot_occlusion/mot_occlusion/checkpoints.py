"""A network with what is needed to use it, in every form in which one lies on disk."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from mot_occlusion.models import build_network
from mot_occlusion.published import import_network
from shared_utils import UserError
from shared_utils.checkpoint import Exportable, import_state_dict, load_tensors

#: The network that travels with the package: the small one, trained on the procedural crowd by the default recipe.
PACKAGED = Path(__file__).parent / "weights" / "small_crowd"
_FACTS = ("backbone", "heads", "input_size", "untrained", "head_channels", "uncertainties")


class TrackingModel(nn.Module, Exportable):
    """A network and its facts; ``save_pretrained(folder)`` writes ``model.safetensors`` and ``config.json``.

    backbone: ``dla34`` or ``small``. heads: output channels by head. input_size: (height, width) it was trained for.
    untrained: heads that an import had to initialise; nothing is decoded from them. head_channels: hidden channels of
    the heads (None: the backbone's own). uncertainties: ``s_det`` and ``s_id`` of its training, where known.
    """

    def __init__(
        self,
        backbone: str,
        heads: Mapping[str, int],
        input_size: Sequence[int] = (608, 1088),
        untrained: Sequence[str] = (),
        head_channels: int | None = None,
        uncertainties: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__()
        self.backbone, self.heads, self.input_size = backbone, dict(heads), tuple(input_size)
        self.untrained, self.uncertainties = tuple(untrained), dict(uncertainties or {})
        self.network = build_network(backbone, heads, head_channels)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """(B, 3, H, W), RGB in [0, 1] -> raw maps by head."""
        return self.network(images)


def load_model(path: str | Path | None = None) -> TrackingModel:
    """The network of a file or folder, in evaluation mode. Nothing in the file is run.

    path: a folder or ``model.safetensors`` of ``TrackingModel.save_pretrained``; a Lightning ``.ckpt`` of ``train.py``,
    its run's folder or that of the run's name (the newest version); a published ``.pth``; None: the network that
    travels with the package.

    Raises UserError, naming the file and the reason, when there is no network in it.
    """
    path = PACKAGED if path is None else Path(path)
    if path.is_dir() and not (path / "config.json").is_file():
        path = _of_run(path)
    if path.is_dir() or (path.suffix == ".safetensors" and path.with_name("config.json").is_file()):
        return _load_exported(path if path.is_dir() else path.parent).eval()
    content = load_tensors(path)
    if isinstance(content, Mapping) and isinstance(content.get("hyper_parameters"), Mapping):
        return _load_lightning(content, str(path)).eval()
    return import_model(content, str(path))[0]


def _of_run(folder: Path) -> Path:
    """The best checkpoint of a run of ``train.py``, or of the newest version of a run's name."""
    versions = sorted(folder.glob("version_*"), key=lambda path: int(path.name[8:]) if path.name[8:].isdigit() else -1)
    run = versions[-1] if versions else folder
    found = sorted((run / "checkpoints").glob("best-*.ckpt")) or sorted((run / "checkpoints").glob("*.ckpt"))
    if not found:
        raise UserError(
            f"{folder} holds neither config.json nor checkpoints: give a run of train.py or an exported model"
        )
    return found[0]


def import_model(source: Any, name: str = "the checkpoint") -> tuple[TrackingModel, str]:
    """A model of a published file's content (see ``published.import_network``), and the report of the import."""
    network, report = import_network(source, source=name)
    hidden = network.get_submodule("hm")[0].out_channels
    model = TrackingModel("dla34", network.heads, (608, 1088), tuple(report.initialised), hidden, report.uncertainties)
    model.network = network
    return model.eval(), str(report)


def initialise(network: nn.Module, path: str | Path, losses: nn.Module | None = None) -> str:
    """Start ``network`` from a file that ``load_model`` reads: every entry of equal name and shape is taken over.

    losses: a ``TrackingLoss``, whose uncertainties are taken over too, where the file has them. Returns a report.
    Raises UserError where the file is of another backbone.
    """
    model = load_model(path)
    if type(model.network) is not type(network):
        raise UserError(f"{path} holds a {model.backbone}, the network to train is a {type(network).__name__}")
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
    return f"{path}: {len(state)} entries taken over; initialised afresh: {', '.join(fresh) or 'nothing'}"


def _load_exported(folder: Path) -> TrackingModel:
    config = folder / "config.json"
    try:
        facts = json.loads(config.read_text())
        model = TrackingModel(**{name: facts[name] for name in _FACTS if name in facts})
    except (json.JSONDecodeError, UnicodeDecodeError, TypeError) as error:
        raise UserError(f"{config} is not the description of an exported model ({error}): export it again") from None
    weights = folder / "model.safetensors"
    import_state_dict(model, load_tensors(weights), source=str(weights))
    return model


def _load_lightning(content: Mapping[str, Any], source: str) -> TrackingModel:
    facts, state = content["hyper_parameters"], content.get("state_dict", {})
    inside = {name.removeprefix("network."): t for name, t in state.items() if name.startswith("network.")}
    if not inside or "backbone" not in facts or "hm.2.weight" not in inside:
        raise UserError(f"{source} is no checkpoint of this project's train.py: give one, or a published file")
    sizes = {name.split(".")[0]: t for name, t in inside.items() if name.endswith(".2.weight") and name.count(".") == 2}
    heads = {name: tensor.shape[0] for name, tensor in sizes.items()}
    uncertainties = {name: float(state[f"loss.{name}"]) for name in ("s_det", "s_id") if f"loss.{name}" in state}
    model = TrackingModel(facts["backbone"], heads, facts["input_size"], (), sizes["hm"].shape[1], uncertainties)
    import_state_dict(model.network, inside, source=source)
    return model
