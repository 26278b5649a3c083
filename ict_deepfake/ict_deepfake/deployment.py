"""Detectors in the forms that others load; each file is read again and compared before it is kept."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
from torch import Tensor, nn

from ict_deepfake.pretrained import Detector, load
from ict_deepfake.published import export_ict
from ict_deepfake.scores import consistency
from shared_utils import UserError, checkpoint, files

To = Literal["pretrained", "published", "onnx", "pt2", "torchscript"]

#: Endings of what is written; none for a folder.
SUFFIXES: dict[To, str] = {
    "pretrained": "",
    "published": ".pth",
    "onnx": ".onnx",
    "pt2": ".pt2",
    "torchscript": ".pt",
}
#: What the exported networks give.
OUTPUTS = ("inner", "outer", "distance")
_TOLERANCE = 1e-4


class Deployed(nn.Module):
    """The network with its pixel constants inside: aligned RGB pictures (n, 3, size, size) in 0..255 ->
    unit rows of inner and outer faces (n, dim), and their squared distance (n,), larger means fake."""

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.model = detector.model

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        inner, outer = self.model(pictures / 127.5 - 1.0)
        return inner, outer, consistency(inner, outer)


def export_detector(detector: Detector, out: str | Path, to: To) -> str:
    """Write a detector for others.

    Args:
        detector: on any device.
        out: a folder for pretrained, a file otherwise.
        to: ``pretrained`` (what ``load`` takes), ``published`` (the layout of ICT_Base.pth), ``onnx`` (one file), ``pt2``
            (``torch.export``) or ``torchscript``; the last three hold the facts of the alignment under "ict_deepfake".

    Returns:
        What the input has to be.

    Raises:
        UserError: the form has no place for this network, what was written does not give the same embeddings, or onnx is
            asked for without its packages.
    """
    out, detector = Path(out), detector.to("cpu").eval()
    size, crop = detector.size, detector.alignment.crop
    what = f"input: the aligned face ({crop}x{crop}), RGB, resized to {size}x{size} (bilinear, antialiased)"
    if to == "pretrained":
        detector.save_pretrained(out)
        _compare(load(out), detector, to)
    elif to == "published":
        with files.replacing(out) as temporary:
            checkpoint.save(export_ict(detector.model), temporary)
            _compare(load(temporary, num_heads=detector.model.config["num_heads"]), detector, to)
        return f"{what}, (v / 255 - 0.5) / 0.5; alignment and calibration are not inside"
    else:
        write = {"onnx": _onnx, "pt2": _pt2, "torchscript": _torchscript}[to]
        with files.replacing(out) as temporary, warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            write(Deployed(detector).eval(), temporary, _pictures(size, 2), json.dumps(about(detector)))
    return f"{what}, 0..255; pixel constants and the template of the alignment are inside"


def about(detector: Detector) -> dict[str, Any]:
    """What an exported file says of itself under "ict_deepfake"."""
    return {**detector.describe(), "input": "RGB", "pixels": "0-255", "outputs": list(OUTPUTS)}


def _onnx(model: Deployed, path: Path, pictures: Tensor, facts: str) -> None:
    try:
        import onnx
        import onnxscript  # noqa: F401 (what torch's exporter is written with)
    except ImportError:
        raise UserError("--to onnx needs the packages onnx and onnxscript: pip install onnx onnxscript") from None
    from onnx.reference import ReferenceEvaluator

    names: dict[str, Any] = {"input_names": ["pictures"], "output_names": list(OUTPUTS)}
    names["dynamic_shapes"] = {"pictures": {0: torch.export.Dim("batch")}}
    torch.onnx.export(model, (pictures,), path, dynamo=True, external_data=False, verbose=False, **names)
    written = onnx.load(path)
    onnx.helper.set_model_props(written, {"ict_deepfake": facts})
    onnx.save(written, path)
    evaluate = ReferenceEvaluator(str(path))
    _close(lambda given: cast("list[np.ndarray]", evaluate.run(None, {"pictures": given.numpy()})), model, "onnx")


def _pt2(model: Deployed, path: Path, pictures: Tensor, facts: str) -> None:
    shapes = {"pictures": {0: torch.export.Dim("batch")}}
    program = torch.export.export(model, (pictures,), dynamic_shapes=shapes)
    # torch insists on the ending.
    named = path.with_suffix(".pt2")
    try:
        torch.export.save(program, named, extra_files={"ict_deepfake.json": facts})
        again = torch.export.load(named).module()
        _close(lambda given: [part.numpy() for part in again(given)], model, "pt2")
        named.replace(path)
    finally:
        named.unlink(missing_ok=True)


def _torchscript(model: Deployed, path: Path, pictures: Tensor, facts: str) -> None:
    traced = torch.jit.freeze(cast("torch.jit.ScriptModule", torch.jit.trace(model, pictures)))
    torch.jit.save(traced, str(path), {"ict_deepfake.json": facts})
    again = torch.jit.load(str(path))
    _close(lambda given: [part.numpy() for part in again(given)], model, "torchscript")


def _pictures(size: int, count: int) -> Tensor:
    return 255 * torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(count))


def _close(run: Callable[[Tensor], Sequence[np.ndarray]], model: Deployed, to: str) -> None:
    """Compare at the batch size of the export and at others."""
    size = int(model.model.config["img_size"])
    for count in (2, 1, 3):
        pictures = _pictures(size, count)
        for name, ours, written in zip(OUTPUTS, model(pictures), run(pictures), strict=True):
            difference = float(np.abs(ours.numpy() - written).max())
            if not difference <= _TOLERANCE:
                raise UserError(f"--to {to}: {name} differs by {difference:.2g} when read again: nothing is kept")


def _compare(again: Detector, detector: Detector, to: str) -> None:
    if again.model.config | {"drop_path": 0.0} != detector.model.config | {"drop_path": 0.0}:
        raise UserError(f"--to {to}: the network is another one when read again: nothing is kept")
    state = again.model.state_dict()
    different = [name for name, value in detector.model.state_dict().items() if not torch.equal(state[name], value)]
    if different:
        raise UserError(f"--to {to}: {different[0]} differs when read again: nothing is kept")
