"""The network in the forms that others take, compared with the original after writing."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from old_films_rtn import pretrained, published
from old_films_rtn.models.rtn import RTN
from old_films_rtn.pretrained import Restorer
from shared_utils import UserError, checkpoint, files


class Step(nn.Module):
    """One frame's worth of the network: R of either direction, and the decoder.

    Inputs: the frame x (n, 3, h, w), the fused states of both directions (n, channels, h, w). Outputs: the restored frame
    and both new hidden states. Flow, warping and gates stay outside: they are a few lines, and the gates' convolutions are
    in the weights under ``*_aggregation``.
    """

    def __init__(self, rtn: RTN) -> None:
        super().__init__()
        self.rtn = rtn

    def forward(self, x: Tensor, backward_fused: Tensor, forward_fused: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        backward, forward = self.rtn.restore("backward", backward_fused), self.rtn.restore("forward", forward_fused)
        return self.rtn.decode(x, backward, forward), backward, forward


def export_restorer(restorer: Restorer, out: str | Path, to: str, height: int, width: int) -> None:
    """Write a restoration network in a form: ``pretrained``, ``published``, ``pt2`` or ``onnx``.

    Args:
        restorer: the network.
        out: a folder for ``pretrained``, else a file.
        to: the form.
        height: of the frames, for ``pt2`` and ``onnx``.
        width: of the frames.

    Raises:
        UserError: a size or a network that does not fit the form, or what was written differs.
    """
    out = Path(out)
    if to in ("pt2", "onnx"):
        if height % 16 or width % 16:
            raise UserError(f"height {height} and width {width} must be multiples of 16")
        same = _export_step(restorer.rtn, out, to, height, width)
    else:
        if to == "pretrained":
            restorer.save_pretrained(out)
        else:
            checkpoint.save({"netG": published.published_state(restorer.rtn)}, out)
        again = pretrained.load(out).rtn.state_dict()
        same = all(map(torch.equal, restorer.rtn.state_dict().values(), again.values()))
    if not same:
        raise UserError(f"{out} was written but does not give the network's own numbers: please report it")


def _export_step(rtn: RTN, out: Path, to: str, height: int, width: int) -> bool:
    step = Step(rtn).eval()
    generator = torch.Generator().manual_seed(0)
    channels = rtn.options["frame_channels"]
    shapes = ((channels, height, width), (rtn.channels, height, width), (rtn.channels, height, width))
    inputs = tuple(torch.rand(1, *shape, generator=generator) * 2 - 1 for shape in shapes)
    names = (["x", "backward_fused", "forward_fused"], ["restored", "backward_state", "forward_state"])
    with torch.no_grad():
        expected = step(*inputs)
        if to == "pt2":
            program = torch.export.export(step, inputs)
            with files.replacing(out) as temporary, temporary.open("wb") as stream:
                torch.export.save(program, stream)
            with out.open("rb") as stream:
                found = torch.export.load(stream).module()(*inputs)
        else:
            try:
                import onnx
                import onnxscript
                from onnx.reference import ReferenceEvaluator
            except ImportError as error:
                raise UserError(f"{error.name} is not installed: pip install onnx onnxscript") from None
            del onnxscript
            with files.replacing(out) as temporary:
                torch.onnx.export(
                    step,
                    inputs,
                    str(temporary),
                    input_names=names[0],
                    output_names=names[1],
                    dynamo=True,
                    external_data=False,
                    verbose=False,
                )
            arrays = dict(zip(names[0], (value.numpy() for value in inputs), strict=True))
            found = [torch.from_numpy(value) for value in ReferenceEvaluator(onnx.load(str(out))).run(None, arrays)]
    return all(torch.allclose(a, b, rtol=0, atol=1e-4) for a, b in zip(found, expected, strict=True))
