"""Mouth models in the forms that others load; each file is read again and compared before it is kept."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
from torch import Tensor, nn

from av_deepfake.models.mstcn import MouthTCN
from av_deepfake.pretrained import MouthModel, load
from av_deepfake.published import export_published
from shared_utils import UserError, checkpoint, files
from shared_utils.checkpoint import load_tensors

To = Literal["pretrained", "published", "onnx", "pt2"]

#: Endings of what is written; none for a folder.
SUFFIXES: dict[To, str] = {"pretrained": "", "published": ".pth", "onnx": ".onnx", "pt2": ".pt2"}
_TOLERANCE = 1e-4


class Deployed(nn.Module):
    """The detector with its pixel constants inside: grey clips (n, frames, size, size) in 0..255 and the frames that count,
    (n, frames) bool -> logits (n,), larger means fake."""

    def __init__(self, model: MouthModel) -> None:
        super().__init__()
        assert model.detector is not None
        self.detector = model.detector
        self.mean, self.std = float(model.preprocessing["mean"]), float(model.preprocessing["std"])

    def forward(self, clips: Tensor, valid: Tensor) -> Tensor:
        return self.detector((clips.unsqueeze(1) / 255 - self.mean) / self.std, valid).flatten()


def export_model(model: MouthModel, out: str | Path, to: To) -> str:
    """Write a model for others.

    Args:
        model: on any device.
        out: a folder for pretrained, a file otherwise.
        to: ``pretrained`` (what ``load`` takes), ``published`` (LipForensics' layout of a detector that came from there, else
            the front-end under the published names), ``onnx`` (one file) or ``pt2`` (``torch.export``). The last two hold the
            facts of the preprocessing under "av_deepfake".

    Returns:
        What the input has to be.

    Raises:
        UserError: the model has no network for the form, what was written is not the same when read again, or onnx is asked
            for without its packages.
    """
    out, model = Path(out), model.to("cpu").eval()
    size, crop, frames = (model.preprocessing[name] for name in ("size", "crop_size", "frames"))
    cut = f"{crop}x{crop} ({model.preprocessing['variant']})"
    what = f"input: the middle {size}x{size} of grey mouth crops of {cut}, {frames} frames"
    if to == "pretrained":
        model.save_pretrained(out)
        _compare(load(out).state_dict(), model.state_dict(), to)
    elif to == "published":
        state, name = _published(model)
        with files.replacing(out) as temporary:
            checkpoint.save(state, temporary)
            _compare(load_tensors(temporary), state, to)
        return f"{name}; {what}, (v / 255 - {model.preprocessing['mean']}) / {model.preprocessing['std']}"
    else:
        if model.detector is None:
            raise UserError(
                f"--to {to} is of a detector, and this model has none yet: fine-tune it, or use --to pretrained"
            )
        clips = 255 * torch.rand(2, frames, size, size, generator=torch.Generator().manual_seed(0))
        write = {"onnx": _onnx, "pt2": _pt2}[to]
        with files.replacing(out) as temporary, warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            write(Deployed(model).eval(), temporary, clips, json.dumps(about(model)))
    return f"{what}, 0..255, and which frames count; pixel constants are inside"


def about(model: MouthModel) -> dict[str, Any]:
    """What an exported file says of itself under "av_deepfake"."""
    return {**model.describe(), "input": ["clips", "valid"], "pixels": "0-255", "outputs": ["logit"]}


def _published(model: MouthModel) -> tuple[dict[str, Any], str]:
    if isinstance(model.detector, MouthTCN):
        return export_published(model.detector), "LipForensics' layout"
    branch = model.video or model.detector
    assert branch is not None
    return export_published(branch.frontend), "front-end and trunk under the published names (the encoder has none)"


def _onnx(model: Deployed, path: Path, clips: Tensor, facts: str) -> None:
    try:
        import onnx
        import onnxscript  # noqa: F401 (what torch's exporter is written with)
    except ImportError:
        raise UserError("--to onnx needs the packages onnx and onnxscript: pip install onnx onnxscript") from None
    from onnx.reference import ReferenceEvaluator

    batch = torch.export.Dim("batch")
    names: dict[str, Any] = {"input_names": ["clips", "valid"], "output_names": ["logit"]}
    names["dynamic_shapes"] = {"clips": {0: batch}, "valid": {0: batch}}
    torch.onnx.export(model, _valid(clips), path, dynamo=True, external_data=False, verbose=False, **names)
    written = onnx.load(path)
    onnx.helper.set_model_props(written, {"av_deepfake": facts})
    onnx.save(written, path)
    evaluate = ReferenceEvaluator(str(path))

    def run(clips: Tensor, valid: Tensor) -> np.ndarray:
        return cast("list[np.ndarray]", evaluate.run(None, {"clips": clips.numpy(), "valid": valid.numpy()}))[0]

    # The reference runs its convolutions in Python: one clip is enough, of another number than was exported.
    _close(run, model, clips[:1], "onnx")


def _pt2(model: Deployed, path: Path, clips: Tensor, facts: str) -> None:
    batch = torch.export.Dim("batch")
    program = torch.export.export(model, _valid(clips), dynamic_shapes={"clips": {0: batch}, "valid": {0: batch}})
    # torch insists on the ending.
    named = path.with_suffix(".pt2")
    try:
        torch.export.save(program, named, extra_files={"av_deepfake.json": facts})
        again = torch.export.load(named).module()
        _close(lambda clips, valid: again(clips, valid).numpy(), model, clips.repeat(2, 1, 1, 1)[:3], "pt2")
        named.replace(path)
    finally:
        named.unlink(missing_ok=True)


def _valid(clips: Tensor) -> tuple[Tensor, Tensor]:
    """Clips, each with a frame less that counts than the one before."""
    return clips, torch.arange(clips.shape[1]) < clips.shape[1] - torch.arange(len(clips))[:, None]


def _close(run: Callable[[Tensor, Tensor], np.ndarray], model: Deployed, clips: Tensor, to: str) -> None:
    given = _valid(clips)
    difference = float(np.abs(model(*given).numpy() - run(*given)).max())
    if not difference <= _TOLERANCE:
        raise UserError(f"--to {to}: the logit differs by {difference:.2g} when read again: nothing is kept")


def _compare(again: dict[str, Any], state: dict[str, Any], to: str) -> None:
    again, state = again.get("model", again), state.get("model", state)
    different = [name for name, value in state.items() if name not in again or not torch.equal(again[name], value)]
    if different:
        raise UserError(f"--to {to}: {different[0]} differs when read again: nothing is kept")
