"""Reconstructions in the forms that others want."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, Literal, cast

import torch

from incomplete_sensing.models import OperatorAware
from incomplete_sensing.published import export_published
from incomplete_sensing.reconstructor import Reconstructor
from shared_utils import UserError, checkpoint, files

Form = Literal["pretrained", "published", "torchscript", "pt2", "onnx"]
DEFAULT_NAMES: dict[Form, str] = {
    "pretrained": "exported",
    "published": "exported.pth.tar",
    "torchscript": "exported.pt",
    "pt2": "exported.pt2",
    "onnx": "exported.onnx",
}
"""Where an export is written when no place is given: a folder for pretrained, else a file."""


def export_reconstructor(reconstructor: Reconstructor, out: str | Path, to: Form, batch_size: int = 1) -> None:
    """Write ``out``; for torchscript, pt2 and onnx the network alone, input (batch_size, C, H, W).

    Raises UserError for onnx without its packages, for a network of (y, A), which is not a function of an image alone, and
    when the exported network's output is not the network's.
    """
    out = Path(out)
    if to == "pretrained":
        reconstructor.save_pretrained(out)
        return
    if to == "published":
        checkpoint.save(export_published(reconstructor), out)
        return
    network = reconstructor.network.eval()
    if isinstance(network, OperatorAware):
        raise UserError(f"this network needs its operators, which {to} cannot hold: use pretrained")
    images = torch.rand(batch_size, *reconstructor.image_shape, generator=torch.Generator().manual_seed(0))
    with files.replacing(out) as temporary, warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        if to == "torchscript":
            traced = torch.jit.trace(network, images)
            torch.jit.save(traced, str(temporary))
            result = torch.jit.load(str(temporary))(images)
        elif to == "pt2":
            with temporary.open("wb") as stream:
                torch.export.save(torch.export.export(network, (images,)), stream)
            with temporary.open("rb") as stream:
                result = torch.export.load(stream).module()(images)
        else:
            result = _onnx(network, images, temporary)
        difference = float((result - network(images)).abs().max())
        if difference > 1e-4 * max(1.0, float(result.abs().max())):
            raise UserError(f"the {to} network differs from the original by {difference:.2g}: nothing was written")


def _onnx(network: torch.nn.Module, images: torch.Tensor, path: Path) -> torch.Tensor:
    try:
        import onnx
        import onnxscript  # noqa: F401 (what torch's exporter is written with)
        from onnx.reference import ReferenceEvaluator
    except ImportError:
        raise UserError(
            'onnx needs the packages onnx and onnxscript: pip install "tenpapers-incomplete-sensing[onnx]"'
        ) from None
    torch.onnx.export(
        network,
        (images,),
        path,
        dynamo=True,
        external_data=False,
        verbose=False,
        input_names=["images"],
        output_names=["reconstructions"],
    )
    evaluator = ReferenceEvaluator(onnx.load(path))
    # A list; a dictionary only where intermediate results are asked for.
    outputs = cast("list[Any]", evaluator.run(None, {"images": images.numpy()}))
    return torch.from_numpy(outputs[0].copy())
