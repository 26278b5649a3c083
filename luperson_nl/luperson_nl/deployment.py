"""Embedders in the forms that others load; each file is read again and compared before it is kept."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, cast, get_args

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from luperson_nl.models.trunks import TRUNKS
from luperson_nl.pretrained import Embedder, load
from luperson_nl.published import export_pretraining, export_published, import_pretraining, import_published, restore
from luperson_nl.published.reading import read
from shared_utils import UserError, checkpoint, files
from shared_utils.checkpoint import import_state_dict

To = Literal["pretrained", "torchvision", "timm", "fork", "fastreid", "reid", "onnx", "torchscript", "pnl", "moco"]
Pixels = Literal["0-1", "0-255", "imagenet", "own"]

#: Endings of what is written; none for a folder.
SUFFIXES: dict[str, str] = {
    **dict.fromkeys(get_args(To), ".pth"),
    **{"pretrained": "", "reid": "", "onnx": ".onnx", "torchscript": ".pt"},
}
#: Files of a whole pre-training, which only a checkpoint of train holds.
TRAINING = ("pnl", "moco")
_TOLERANCE = 1e-4
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


class Deployed(nn.Module):
    """An embedder whose pixel statistics are inside: RGB images (n, 3, h, w) of its size -> unit vectors.

    Args:
        embedder: what is deployed.
        pixels: what the images hold: ``0-1``, ``0-255``, ``imagenet`` (0..1 normalised with ImageNet's statistics, what
            boxmot feeds) or ``own`` (normalised with the embedder's own, which are then outside).
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, embedder: Embedder, pixels: Pixels) -> None:
        super().__init__()
        self.embedder = embedder
        mean, std = (torch.tensor(values).reshape(1, 3, 1, 1) for values in (embedder.mean, embedder.std))
        scale, shift = {
            "0-1": (torch.ones(1, 3, 1, 1), torch.zeros(1, 3, 1, 1)),
            "0-255": (torch.full((1, 3, 1, 1), 1 / 255), torch.zeros(1, 3, 1, 1)),
            "imagenet": (
                torch.tensor(_IMAGENET[1]).reshape(1, 3, 1, 1),
                torch.tensor(_IMAGENET[0]).reshape(1, 3, 1, 1),
            ),
            "own": (std, mean),
        }[pixels]
        # (image * scale + shift - mean) / std, as one product and one sum.
        self.register_buffer("scale", scale / std)
        self.register_buffer("shift", (shift - mean) / std)

    def forward(self, images: Tensor) -> Tensor:
        return self.embedder(images * self.scale + self.shift)


def export_embedder(embedder: Embedder, out: str | Path, to: To, pixels: Pixels = "0-1") -> str:
    """Write an embedder for others.

    Args:
        embedder: on any device.
        out: a folder for pretrained and reid, a file otherwise.
        to: ``pretrained`` (what ``load`` takes), a layout of ``published.EXPORTS``, ``reid`` (the folder of trackers'
            package of that name), ``onnx`` or ``torchscript``.
        pixels: of onnx and torchscript; see ``Deployed``.

    Returns:
        What the input has to be, in a sentence.

    Raises:
        UserError: the form has no place for this network, what was written does not give the same features, or onnx is
            asked for without its packages.
    """
    out, embedder = Path(out), embedder.to("cpu").eval()
    height, width = embedder.size
    what = f"input: RGB, {height}x{width} (bicubic)"
    outside = f"{what}, 0..1, then mean {_listed(embedder.mean)} and std {_listed(embedder.std)}, which are not inside"
    if to == "pretrained":
        embedder.save_pretrained(out)
        _compare(load(out), embedder, to)
    elif to == "reid":
        _reid(embedder, out)
    elif to == "onnx":
        _onnx(Deployed(embedder, pixels).eval(), out, embedder, pixels)
    elif to == "torchscript":
        _torchscript(Deployed(embedder, pixels).eval(), out, embedder, pixels)
    else:
        with files.replacing(out) as temporary:
            content = export_published(embedder.network, to, (_three(embedder.mean), _three(embedder.std)))
            checkpoint.save(content, temporary)
            _compare_states(read(temporary), embedder, to)
    if to in ("onnx", "torchscript") and pixels != "own":
        said = {"0-1": "0..1", "0-255": "0..255", "imagenet": "0..1, normalised with ImageNet's mean and std"}[pixels]
        return f"{what}, {said}; the model's own pixel statistics are inside"
    if to == "fork":
        return f"{what}, 0..255; pixel statistics are inside"
    return outside


def export_training(ckpt: str | Path | None, out: str | Path, to: To) -> str:
    """Write the whole state of a pre-training under the published names, for the published code to go on with.

    Args:
        ckpt: a checkpoint or run folder of train.
        out: the file.
        to: ``pnl`` or ``moco``, which has to be what was trained.

    Returns:
        A sentence about what was written.

    Raises:
        UserError: no such checkpoint, or one of another method.
    """
    if ckpt is None:
        raise UserError(f"--to {to} needs --ckpt, a run or a checkpoint of train: the bundled model is a trunk alone")
    content = read(checkpoint.locate(ckpt, Path(ckpt)))
    if not isinstance(content, Mapping) or not isinstance(content.get("state_dict"), Mapping):
        raise UserError(f"{ckpt} is no checkpoint of train: --to {to} needs queue and key encoder, not the trunk alone")
    model = restore(content["state_dict"], str(ckpt))
    if model.method != to:
        raise UserError(f"{ckpt} was trained by {model.method}: use --to torchvision" + " or --to moco" * (to == "pnl"))
    trunk = content.get("hyper_parameters", {}).get("embedder", {}).get("trunk", TRUNKS[2])
    with files.replacing(out) as temporary:
        checkpoint.save(export_pretraining(model, epoch=int(content.get("epoch", -1)) + 1, arch=trunk), temporary)
        again = import_pretraining(read(temporary))[0].state_dict()
        own = model.state_dict()
        own.pop("num_steps")
        _same(again, own, to)
    return f"the state of pre-training, to go on with at epoch {int(content.get('epoch', -1)) + 1}"


def _compare_states(content: Any, embedder: Embedder, to: str) -> None:
    """Read a published file as a stranger would, and compare every entry."""
    trunk = embedder.trunk if embedder.trunk.startswith("timm:") else None
    if to in ("torchvision", "timm"):
        again = import_published(content, trunk=trunk).network.state_dict()
        own = (getattr(embedder.network, "backbone", None) or embedder.network).state_dict()
    else:
        options = {
            name: value for name, value in embedder.options.items() if name in ("pool", "classifier", "neck_feature")
        }
        again = import_published(content, kind=None if embedder.kind == "mgn" else embedder.kind, **options)
        again, own = again.network.state_dict(), embedder.network.state_dict()
    _same(again, own, to)


def _same(again: Mapping[str, Tensor], own: Mapping[str, Tensor], to: str) -> None:
    different = [name for name, value in own.items() if name not in again or not torch.equal(again[name], value)]
    if different:
        raise UserError(f"--to {to}: what was written differs when read again ({different[0]}): nothing is kept")


def _reid(embedder: Embedder, out: Path) -> None:
    import timm

    name = embedder.trunk.removeprefix("timm:")
    if embedder.kind != "trunk" or not timm.is_model(name):
        raise UserError(
            f"--to reid is for trunks that timm has, and this is {embedder.kind} on {embedder.trunk}: use --to onnx"
        )
    state, images = export_published(embedder.network, "timm"), _images(embedder, "own")
    # What the package builds of the name: its own pooling, on images of this size.
    model = timm.create_model(name, num_classes=0).eval()
    import_state_dict(model, state, source=f"--to reid, {name}")
    try:
        with torch.no_grad():
            same = torch.allclose(normalize(model(images)), embedder(images), atol=_TOLERANCE)
    except AssertionError:  # of timm, on another size of images than the model's
        same = False
    if not same:
        raise UserError(f"--to reid: timm's own {name} pools otherwise or takes another size of images: use --to onnx")
    view = {"input_size": list(embedder.size), "mean": list(embedder.mean), "std": list(embedder.std)}
    view |= {"interpolation": "bicubic", "to_rgb": True, "normalize_embeddings": True}
    out.mkdir(parents=True, exist_ok=True)
    checkpoint.save_safetensors(state, out / "weights.safetensors", {"format": "pt"})
    files.write_json({"architecture": f"timm:{name}", "preprocessing": view}, out / "reid_config.json")
    _compare(load(out), embedder, "reid")


def _onnx(model: Deployed, out: Path, embedder: Embedder, pixels: str) -> None:
    try:
        import onnx
        import onnxscript  # noqa: F401 (what torch's exporter is written with)
    except ImportError:
        raise UserError("--to onnx needs the packages onnx and onnxscript: pip install onnx onnxscript") from None
    from onnx.reference import ReferenceEvaluator

    images = _images(embedder, pixels)
    with files.replacing(out) as temporary, warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        shapes = {"images": {0: torch.export.Dim("batch")}}
        names: dict[str, Any] = {"input_names": ["images"], "output_names": ["features"], "dynamic_shapes": shapes}
        torch.onnx.export(model, (images,), temporary, dynamo=True, external_data=False, verbose=False, **names)
        written = onnx.load(temporary)
        onnx.helper.set_model_props(written, {"luperson_nl": json.dumps(_about(embedder, pixels))})
        onnx.save(written, temporary)
        evaluate = ReferenceEvaluator(str(temporary))
        _close(lambda given: _first(evaluate.run(None, {"images": given.numpy()})), model, images, "onnx")


def _first(outputs: Any) -> np.ndarray:
    return np.asarray(outputs[0])


def _torchscript(model: Deployed, out: Path, embedder: Embedder, pixels: str) -> None:
    images = _images(embedder, pixels)
    with files.replacing(out) as temporary, warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(model, images)
        traced = torch.jit.freeze(cast("torch.jit.ScriptModule", traced))
        torch.jit.save(traced, str(temporary), {"luperson_nl.json": json.dumps(_about(embedder, pixels))})
        again = torch.jit.load(str(temporary))
        _close(lambda given: again(given).numpy(), model, images, "torchscript")


def _close(run: Callable[[Tensor], np.ndarray], model: nn.Module, images: Tensor, to: str) -> None:
    for batch in (images, images[:1]):
        difference = float(np.abs(run(batch) - model(batch).numpy()).max())
        if not difference <= _TOLERANCE:
            raise UserError(f"--to {to}: features differ by {difference:.2g} when read again: nothing is kept")


def _compare(again: Embedder, embedder: Embedder, to: str) -> None:
    images = _images(embedder, "own")
    with torch.no_grad():
        difference = float((again(images) - embedder(images)).abs().max())
    if not difference <= _TOLERANCE:
        raise UserError(f"--to {to}: features differ by {difference:.2g} when read again: nothing is kept")


def _images(embedder: Embedder, pixels: str) -> Tensor:
    images = torch.rand(2, 3, *embedder.size, generator=torch.Generator().manual_seed(0))
    return 255 * images if pixels == "0-255" else images


def _about(embedder: Embedder, pixels: str) -> dict[str, Any]:
    return {**embedder.describe(), "input": "RGB", "pixels": pixels, "statistics_inside": pixels != "own"}


def _listed(values: tuple[float, ...]) -> str:
    return " ".join(f"{value:.4f}" for value in values)


def _three(values: tuple[float, ...]) -> tuple[float, float, float]:
    first, second, third = values
    return first, second, third
