"""Networks written in the formats of other programs: the published layout, ONNX, torch.export."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from mot_occlusion.models.tracking_model import TrackingModel
from mot_occlusion.published import export_published
from shared_utils import UserError, checkpoint, files

SUFFIXES = {"pretrained": "", "published": ".pth", "onnx": ".onnx", "pt2": ".pt2"}


class _Tuple(nn.Module):
    """The maps as a tuple, in the order of the heads: exchange formats name outputs by position."""

    def __init__(self, model: TrackingModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.model(images).values())


def export_model(
    model: TrackingModel,
    out: str | Path,
    to: Literal["pretrained", "published", "onnx", "pt2"],
    input_size: tuple[int, int] | None = None,
) -> None:
    """Write a model; ``onnx`` and ``pt2`` take one image (1, 3, H, W) in [0, 1] and give the raw maps.

    Args:
        model: what to write.
        out: a folder for ``pretrained``, a file otherwise.
        to: the format.
        input_size: (height, width) for ``onnx`` and ``pt2``; what the model was trained for where None.

    Raises:
        UserError: a backbone that the published code does not have, or onnx without its packages.
    """
    out = Path(out)
    if to == "pretrained":
        model.save_pretrained(out)
        return
    if to == "published":
        checkpoint.save(export_published(model.network, model.uncertainties), out)
        return
    images = torch.rand(1, 3, *(input_size or model.input_size))
    wrapped = _Tuple(model.eval().float())
    with files.replacing(out) as temporary, warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        if to == "pt2":
            program = torch.export.export(wrapped, (images,))
            with temporary.open("wb") as stream:
                torch.export.save(program, stream)
            return
        try:
            import onnxscript  # noqa: F401 (what torch's exporter is written with)
        except ImportError:
            raise UserError("onnx needs the packages onnx and onnxscript: pip install onnx onnxscript") from None
        write_onnx(wrapped, images, temporary, "image", list(model.heads))


def write_onnx(module: nn.Module, example: Tensor, path: str | Path, source: str, outputs: list[str]) -> None:
    """One input, named ``source``. The exporter's optimiser is off: it loses a clamp of the deformable layer."""
    torch.onnx.export(
        module,
        (example,),
        path,
        dynamo=True,
        external_data=False,
        optimize=False,
        verbose=False,
        input_names=[source],
        output_names=outputs,
    )
