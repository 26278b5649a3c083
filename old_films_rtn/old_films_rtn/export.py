"""The network in the forms that others take, compared with the original after writing."""

from __future__ import annotations

import re
from pathlib import Path

import torch
from torch import Tensor, nn

from old_films_rtn import published
from old_films_rtn.models.rtn import RTN
from shared_utils import UserError, checkpoint


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


def published_state(rtn: RTN) -> dict[str, Tensor]:
    """The state dict in the published names.

    Raises UserError for a network whose output is not the published one.
    """
    if not rtn.tanh_residual:
        raise UserError("the published code has only networks with the tanh output: this one was trained without it")
    rules = [
        (r"^fusion\.", "concate."),
        (r"^refine\.0\.", "up1.up_conv."),
        (r"^refine\.1\.", "up2.up_conv."),
        (r"^refine\.2\.", "conv_hr."),
        (r"^output\.", "conv_last."),
        (r"^(forward|backward)_transformer\.", r"\1_resblocks."),
        (r"^forward_aggregation\.", "Forward_Aggregation."),
        (r"^backward_aggregation\.", "Backward_Aggregation."),
        (r"embed_norm\.", "patch_embed.norm."),
        (r"groups\.(\d+)\.blocks\.", r"layers.\1.residual_group.blocks."),
        (r"groups\.(\d+)\.conv\.", r"layers.\1.conv."),
        (r"conv_before_upsample\.", "conv_before_upsample.0."),
        (r"conv_up\.", "conv_up1."),
        (r"embedding\.", "conv2d_projection_head."),
        (r"gate_hidden\.", "conv2d_1."),
        (r"gate\.", "conv2d_2."),
    ]
    state = {}
    for name, tensor in rtn.state_dict().items():
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)
        state[name] = tensor
    return state


def export_network(ckpt: str | Path, out: str | Path, height: int, width: int) -> None:
    """Write by the ending of ``out``: ``.safetensors``, ``.pth``, ``.pt2`` or ``.onnx``.

    Raises UserError for another ending, for a size that does not fit, and where what was written differs.
    """
    out, loaded = Path(out), published.load(ckpt)
    if out.suffix == ".safetensors":
        checkpoint.save_safetensors(published.state_to_save(*loaded), out)
        restored = published.load(out).rtn
        same = all(map(torch.equal, loaded.rtn.state_dict().values(), restored.state_dict().values()))
    elif out.suffix == ".pth":
        checkpoint.save({"netG": published_state(loaded.rtn)}, out)
        restored = published.load(out).rtn
        same = all(map(torch.equal, loaded.rtn.state_dict().values(), restored.state_dict().values()))
    elif out.suffix in (".pt2", ".onnx"):
        if height % 16 or width % 16:
            raise UserError(f"height {height} and width {width} must be multiples of 16")
        same = _export_step(loaded.rtn, out, height, width)
    else:
        raise UserError(f"{out}: the ending says what is written: .safetensors, .pth, .pt2 or .onnx")
    if not same:
        raise UserError(f"{out} was written but does not give the network's own numbers: please report it")


def _export_step(rtn: RTN, out: Path, height: int, width: int) -> bool:
    step = Step(rtn).eval()
    generator = torch.Generator().manual_seed(0)
    channels = rtn.options["frame_channels"]
    shapes = ((channels, height, width), (rtn.channels, height, width), (rtn.channels, height, width))
    inputs = tuple(torch.rand(1, *shape, generator=generator) * 2 - 1 for shape in shapes)
    names = (["x", "backward_fused", "forward_fused"], ["restored", "backward_state", "forward_state"])
    with torch.no_grad():
        expected = step(*inputs)
        if out.suffix == ".pt2":
            program = torch.export.export(step, inputs)
            with checkpoint.replacing(out) as temporary, temporary.open("wb") as stream:
                torch.export.save(program, stream)
            with out.open("rb") as stream:
                found = torch.export.load(stream).module()(*inputs)
        else:
            try:
                import onnx
                import onnxscript
                from onnx.reference import ReferenceEvaluator
            except ImportError as error:
                raise UserError(f"{error.name} is not installed: pip install 'old_films_rtn[onnx]'") from None
            del onnxscript
            with checkpoint.replacing(out) as temporary:
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
