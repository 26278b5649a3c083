"""``load``: a trained network from wherever it is, ready to reconstruct; and the baselines that were trained beside it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from mrf_unroll import published
from mrf_unroll.models import Denoiser, MRFResNet
from mrf_unroll.reconstructor import Reconstructor
from shared_utils import UserError, checkpoint, files

BUNDLED = Path(__file__).parent / "weights" / "spiral48"
# Where a run, or an exported network, keeps its baselines.
BASELINES = "baselines"
_STEPS = "training.json"


def load(source: str | Path | None = None, decoder: str | Path | None = None) -> Reconstructor:
    """A network, ready to evaluate.

    Args:
        source: the folder of a run, or one of its checkpoints; a folder of ``save_pretrained``; a file that was released
            with PGD-Net; a hub id ``user/model``; None is the network that is bundled with the package.
        decoder: the Bloch decoder's file, of a released network that has none inside.

    Raises:
        UserError: ``source`` is none of these, or damaged; the message names it.
    """
    return _read(checkpoint.locate(source, BUNDLED), decoder)


def _read(place: Path, decoder: str | Path | None = None) -> Reconstructor:
    folder = place if place.is_dir() else place.parent
    if place.is_dir() or (place.suffix == ".safetensors" and (folder / "config.json").is_file()):
        files.read_json(folder / "config.json", "configuration of a network")
        try:
            return Reconstructor.from_pretrained(folder).eval()
        except (TypeError, KeyError) as error:
            raise UserError(f"{folder / 'config.json'} is not the configuration of such a network ({error})") from error
    content = published.read_published(place)
    if isinstance(content, dict) and "reconstructor" not in content and published.looks_published(content):
        network, _ = published.import_published(content, decoder, source=str(place))
        return published.as_reconstructor(network)
    return Reconstructor.from_training(content, str(place)).eval()


@dataclass
class Trained:
    """A network with the baselines that were trained beside it on the same data.

    Args:
        networks: by name, ``unrolled`` first.
        steps: of their trainings, where known.
        voxelwise, prior: the networks of the methods ``mrfresnet`` and ``pnp_admm``.
        folder: of the run, or of ``save_pretrained``; None where there is neither.
    """

    networks: dict[str, Reconstructor]
    steps: dict[str, int] = field(default_factory=dict)
    voxelwise: MRFResNet | None = None
    prior: Denoiser | None = None
    folder: Path | None = None

    @property
    def unrolled(self) -> Reconstructor:
        return self.networks["unrolled"]

    def parameters(self, method: str) -> int | None:
        """Trained parameters of a method; None where nothing is trained."""
        if method in self.networks:
            return self.networks[method].num_parameters
        network = self.network_of(method)
        return None if network is None else sum(value.numel() for value in network.parameters())

    def network_of(self, method: str) -> MRFResNet | Denoiser | None:
        """The network that a classical method uses; None where it uses none, or none was trained."""
        return {"mrfresnet": self.voxelwise, "pnp_admm": self.prior}.get(method)

    @property
    def digest(self) -> dict[str, str]:
        """``network_digest`` of every network, by name."""
        every = {**self.networks, "mrfresnet": self.voxelwise, "denoiser": self.prior}
        return {name: network_digest(network) for name, network in every.items() if network is not None}

    def save(self, out: str | Path) -> None:
        """Write the network as ``save_pretrained`` does, and its baselines beside it."""
        out = Path(out)
        self.unrolled.save_pretrained(out)
        if "unrolled" in self.steps:
            files.write_json({"steps": self.steps["unrolled"]}, out / _STEPS)
        for config in _baseline_configs(self.folder):
            for name in ("config.json", "model.safetensors", _STEPS):
                if (config.parent / name).is_file():
                    with files.replacing(out / BASELINES / config.parent.name / name) as temporary:
                        temporary.write_bytes((config.parent / name).read_bytes())


def network_digest(network: nn.Module) -> str:
    """A digest of a network's weights, its basis included, and of its configuration, which results depend on too."""
    config = json.dumps(getattr(network, "options", None), sort_keys=True, default=str)
    return f"{checkpoint.weights_digest(network)}-{hashlib.sha256(config.encode()).hexdigest()[:16]}"


def load_with_baselines(source: str | Path | None = None) -> Trained:
    """The network at ``source`` (see ``load``), as ``unrolled``, with what was trained beside it."""
    place = checkpoint.locate(source, BUNDLED)
    folder = place if place.is_dir() else place.parent.parent if place.parent.name == "checkpoints" else None
    trained = Trained({"unrolled": _read(place)}, folder=folder)
    if folder is not None:
        _note_steps(trained, "unrolled", folder)
        last = folder / "checkpoints" / "last.ckpt"
        if "unrolled" not in trained.steps and last.is_file():
            trained.steps["unrolled"] = int(checkpoint.load_tensors(last)["global_step"])
    for config in _baseline_configs(folder):
        name = config.parent.name
        if name == "mrfresnet":
            trained.voxelwise = MRFResNet.from_pretrained(config.parent).eval()
        elif name == "denoiser":
            trained.prior = Denoiser.from_pretrained(config.parent).eval()
        else:
            trained.networks[name] = _read(config.parent)
        _note_steps(trained, "pnp_admm" if name == "denoiser" else name, config.parent)
    return trained


def _baseline_configs(folder: Path | None) -> list[Path]:
    return [] if folder is None else sorted(folder.glob(f"{BASELINES}/*/config.json"))


def _note_steps(trained: Trained, name: str, folder: Path) -> None:
    path = folder / _STEPS
    if path.is_file():
        content: dict[str, Any] = files.read_json(path, "record of a training")
        trained.steps[name] = int(content["steps"])
