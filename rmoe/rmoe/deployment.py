"""Models in the forms that others run: dense, merged, tutel's layout, ONNX, torch.export; each written form is read again
and compared with the model before it takes its place.
"""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from rmoe import pretrained, published
from rmoe.conversion import example_inputs, largest_difference, outputs
from rmoe.moe import ResidualMoE, merge, moe_layers, to_dense
from rmoe.moe.routing import top_experts
from rmoe.predictors import Predictor
from shared_utils import UserError, checkpoint, files

Kind = Literal["pretrained", "dense", "merged", "tutel", "onnx", "torch_export"]
SUFFIXES: dict[str, str] = {
    "pretrained": "",
    "dense": "",
    "merged": "",
    "tutel": ".pth",
    "onnx": ".onnx",
    "torch_export": ".pt2",
}
_TOLERANCE = 1e-4


class Program(nn.Module):
    """A model with the constants of its preprocessing inside.

    Segmentation: image (1, 3, H, W) RGB in 0..255 -> logits (1, K, H, W); classification: -> logits (1, K) of the last
    head; detection: -> the levels of the feature pyramid (boxes and masks follow from them by steps whose sizes depend on
    the image).
    """

    def __init__(self, given: Predictor, model: nn.Module) -> None:
        super().__init__()
        mean, std = given.normalisation
        self.task, self.model = given.task, model
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1))

    def forward(self, image: Tensor) -> Any:
        """See the class."""
        images = (image - self.mean) / self.std
        if self.task == "detection":
            maps = self.model.get_submodule("backbone")(images)
            return tuple(self.model.get_submodule("neck")(maps).values())
        made = self.model(images)
        return made[-1] if self.task == "classification" and isinstance(made, list) else made


class PlainMixture(nn.Module):
    """A mixture by plain operations, each expert on the rows that chose it: for ONNX, which has no grouped product.

    Args:
        layer: dropless in evaluation, with its experts on this process.
    """

    def __init__(self, layer: ResidualMoE) -> None:
        super().__init__()
        if layer.eval_capacity_factor:
            raise UserError("only dropless evaluation can be exported: this model has an eval_capacity_factor")
        self.k, self.gate, self.form, self.act = layer.k, layer.gate, layer.form, layer.act
        self.router, self.core, self.dim = layer.router, layer.core, layer.dim
        self.twice = layer.gate == "residual" or layer.form == "side_branch"
        self.fc1_weight: Tensor
        self.fc1_bias: Tensor | None
        self.fc2_weight: Tensor
        self.fc2_bias: Tensor | None
        self.selection_bias: Tensor | None
        with torch.no_grad():
            for name, tensor in layer.expert_weights()._asdict().items():
                self.register_buffer(name, None if tensor is None else tensor.detach().clone())
        bias = getattr(layer, "selection_bias", None)
        self.register_buffer("selection_bias", None if bias is None else bias.clone())

    def _expert(self, number: int, rows: Tensor) -> Tensor:
        def of(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else tensor[number]

        hidden = self.act(functional.linear(rows, self.fc1_weight[number], of(self.fc1_bias)))
        return functional.linear(hidden, self.fc2_weight[number], of(self.fc2_bias))

    def forward(self, x: Tensor, padding: Tensor | None = None) -> Tensor:
        """(..., C) -> (..., C)."""
        tokens = x.reshape(-1, self.dim)
        probability = self.router(tokens).softmax(dim=1)
        scores = probability if self.selection_bias is None else probability + self.selection_bias
        expert = top_experts(scores, self.k)
        gates = probability.gather(1, expert)
        if not self.twice and self.gate != "prob":
            gates = torch.ones_like(gates) if self.k == 1 else gates / gates.sum(1, keepdim=True)
        core = self.core(tokens) if self.twice and self.core is not None else None
        total = torch.zeros_like(tokens) if core is None else core
        for choice in range(self.k):
            y = torch.zeros_like(tokens)
            for number in range(self.fc1_weight.shape[0]):
                rows = (expert[:, choice] == number).nonzero()[:, 0]
                y = y.index_put((rows,), self._expert(number, tokens[rows]))
            if core is not None and self.form == "factorised":
                y = y - core
            total = total + gates[:, choice, None] * y
        return total.reshape(x.shape)


def with_plain_mixtures(model: nn.Module) -> nn.Module:
    """A copy whose mixtures are ``PlainMixture``."""
    model = copy.deepcopy(model)
    for name, layer in list(moe_layers(model)):
        parent, _, last = name.rpartition(".")
        setattr(model.get_submodule(parent), last, PlainMixture(layer))
    return model


def export_model(
    given: Predictor, out: str | Path, to: Kind, size: tuple[int, int] | None = None, ranks: int = 1
) -> str:
    """Write a model in another form and compare what was written with it.

    Args:
        given: the model.
        out: a folder for ``pretrained``, ``dense`` and ``merged``, a file otherwise.
        to: ``pretrained``: as it is; ``dense``: the core, without residuals; ``merged``: whole weights an expert;
            ``tutel``: Swin-MoE's and tutel's names; ``onnx``, ``torch_export``: a ``Program``.
        size: (H, W) of a program's image; None: 512x512, of a classifier its own.
        ranks: tutel: files, one a rank, ``out``.rank0 ...

    Returns:
        What was compared, and the largest difference.

    Raises:
        UserError: the form does not exist for this model, or what was written differs.
    """
    if to == "pretrained":
        given.save_pretrained(out)
        return f"read again, the outputs differ by {largest_difference(given, pretrained.load(out)):.2g}"
    if not given.has_experts and to in ("dense", "merged", "tutel"):
        raise UserError(f"this model has no experts to make {to}: export it with --to pretrained")
    if to in ("dense", "merged"):
        return _reshaped(given, out, to)
    if to == "tutel":
        return _tutel(given, Path(out), ranks)
    return (_onnx if to == "onnx" else _torch_export)(given, Path(out), _example(given, size))


def _reshaped(given: Predictor, out: str | Path, to: str) -> str:
    model = copy.deepcopy(given.model)
    if to == "dense":
        made = given.with_model(to_dense(model))
        made.save_pretrained(out)
        again = largest_difference(made, pretrained.load(out))
        dropped = largest_difference(given, made)
        return f"read again, the outputs differ by {again:.2g}; from the mixture, whose residuals are dropped, by {dropped:.2g}"
    if not merge(model):
        raise UserError("every mixture of this model is merged already: export it with --to pretrained")
    made = given.with_model(model)
    difference = largest_difference(given, made)
    _refuse(difference, example_scale(given))
    made.save_pretrained(out)
    again = largest_difference(made, pretrained.load(out))
    return f"merged, the outputs differ by {difference:.2g}; read again by {again:.2g}"


def example_scale(given: Predictor) -> float:
    """The largest output on the noise that is compared on; at least 1."""
    return max(1.0, *(float(each.abs().max()) for each in outputs(given, example_inputs(given))))


def _refuse(difference: float, scale: float) -> None:
    if not difference <= _TOLERANCE * scale:
        raise UserError(f"what was written differs from the model by {difference:.2g}: it was not kept")


def _tutel(given: Predictor, out: Path, ranks: int) -> str:
    parts = published.export_swin_moe(given.model, ranks)
    paths = [out] if ranks == 1 else [out.with_name(f"{out.name}.rank{rank}") for rank in range(ranks)]
    for path, part in zip(paths, parts, strict=True):
        checkpoint.save({"model": part}, path)
    again = copy.deepcopy(given.model)
    merge(again)
    published.import_tutel(again, [published.unwrap(published.read(path), str(path)) for path in paths], str(out))
    difference = largest_difference(given, given.with_model(again.eval()))
    return f"{len(paths)} file{'s' * (ranks > 1)} for tutel; read again, the outputs differ by {difference:.2g}"


def _example(given: Predictor, size: tuple[int, int] | None) -> Tensor:
    own = getattr(given.model, "image_size", None)
    if own is not None and size not in (None, (own, own)):
        raise UserError(f"this classifier takes images of {own}x{own}, not {size[0]}x{size[1]}")
    if size is None:
        size = (own, own) if own else (32, 32) if given.description.architecture == "mosaic_net" else (512, 512)
    if given.task == "backbone":
        raise UserError("this is a backbone without a head: export it with --to pretrained, merged or dense")
    step = 32 if given.task == "detection" else 4
    if min(size) < step or size[0] % step or size[1] % step:
        raise UserError(f"the size {size[0]}x{size[1]} is not of multiples of {step}")
    return torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0)) * 255


def _compared(
    out: Path, write: Callable[[Path], None], run: Callable[[Path], list[Tensor]], wanted: list[Tensor]
) -> str:
    with files.replacing(out) as temporary:
        write(temporary)
        found = run(temporary)
        difference = max(float((a - b).abs().max()) for a, b in zip(found, wanted, strict=True))
        _refuse(difference, max(1.0, *(float(each.abs().max()) for each in wanted)))
    return f"the program's outputs differ by {difference:.2g}"


def _listed(made: Any) -> list[Tensor]:
    return list(made) if isinstance(made, tuple | list) else [made]


@contextmanager
def _quiet(*names: str) -> Iterator[None]:
    """Exporters report every step of theirs as news: errors alone are let through."""
    levels = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


@torch.no_grad()
def _torch_export(given: Predictor, out: Path, image: Tensor) -> str:
    program = Program(given, copy.deepcopy(given.model).cpu()).eval()

    def write(path: Path) -> None:
        with warnings.catch_warnings(), path.open("wb") as stream:
            warnings.simplefilter("ignore")
            torch.export.save(torch.export.export(program, (image,)), stream)

    def run(path: Path) -> list[Tensor]:
        with path.open("rb") as stream, _quiet("torch._export"):
            return _listed(torch.export.load(stream).module()(image))

    return _compared(out, write, run, _listed(program(image)))


@torch.no_grad()
def _onnx(given: Predictor, out: Path, image: Tensor) -> str:
    try:
        import onnxscript
        from onnx.reference import ReferenceEvaluator
    except ImportError as error:
        raise UserError(f"{error.name} is not installed: uv pip install onnx onnxscript") from None
    del onnxscript  # what torch's exporter is written with
    wanted = Program(given, copy.deepcopy(given.model).cpu()).eval()
    program = Program(given, with_plain_mixtures(given.model).cpu()).eval()

    def write(path: Path) -> None:
        with warnings.catch_warnings(), _quiet("onnxscript", "onnx_ir", "torch.onnx"):
            warnings.simplefilter("ignore")
            made = torch.onnx.export(
                program, (image,), dynamo=True, optimize=False, verbose=False, input_names=["image"]
            )
        assert made is not None  # the exporter of dynamo returns what it has made
        path.write_bytes(made.model_proto.SerializeToString())

    def run(path: Path) -> list[Tensor]:
        found: Any = ReferenceEvaluator(str(path)).run(None, {"image": image.numpy()})
        return [torch.from_numpy(values.copy()) for values in found]

    return _compared(out, write, run, _listed(wanted(image)))
