"""Models that come from and go to others: published state dicts by explicit rules, the Hugging Face hub mixin."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from huggingface_hub import PyTorchModelHubMixin

from shared_utils import UserError
from shared_utils.checkpoint.reading import load_tensors
from shared_utils.checkpoint.writing import save_safetensors


class Exportable(PyTorchModelHubMixin):
    """The Hugging Face hub mixin (``save_pretrained``, ``from_pretrained``) with durable and verified files.

    Mix it into an ``nn.Module`` whose constructor takes plain values: ``class Net(nn.Module, Exportable)``. A folder
    holds ``model.safetensors`` and ``config.json`` (the constructor arguments).
    """

    def _save_pretrained(self, save_directory: Path) -> None:
        assert isinstance(self, torch.nn.Module)
        save_safetensors(self.state_dict(), Path(save_directory) / "model.safetensors", {"format": "pt"})

    @classmethod
    def _load_as_safetensor(
        cls, model: torch.nn.Module, model_file: str, map_location: str, strict: bool
    ) -> torch.nn.Module:
        import_state_dict(model, load_tensors(model_file, map_location), source=str(model_file))
        return model.to(map_location)


@dataclass
class ImportReport:
    """What an import found: entry names of the model (``matched``, ``missing``) and of the file (``unexpected``)."""

    matched: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    mismatched: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [f"{len(self.matched)} entries matched"]
        for kind in ("missing", "unexpected", "mismatched"):
            if names := getattr(self, kind):
                lines.append(f"{len(names)} {kind}: {', '.join(names[:10])}{', ...' if len(names) > 10 else ''}")
        return "; ".join(lines)


def import_state_dict(
    model: torch.nn.Module,
    state: Mapping[str, torch.Tensor],
    rules: Iterable[tuple[str, str]] = (),
    optional: Callable[[str], bool] = lambda name: name.endswith("num_batches_tracked"),
    source: str = "the state dict",
) -> ImportReport:
    """Load a published state dict into ``model``, all or nothing.

    Args:
        model: takes the weights.
        state: the published entries.
        rules: (regular expression, replacement) applied in order to every name of the file, as ``re.sub``; a name that
            becomes empty is left out on purpose.
        optional: names of the model that the file may lack (they keep their value).
        source: what the state dict is called in the error.

    Returns:
        What was matched and, of what is optional, missing.

    Raises:
        UserError: something does not fit, with up to ten names of each kind; the model is then unchanged.
    """
    renamed = {}
    for name, tensor in state.items():
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)
        if name:
            renamed[name] = tensor
    own = model.state_dict()
    report = ImportReport()
    for name, tensor in own.items():
        if name not in renamed:
            if not optional(name):
                report.missing.append(name)
        elif tuple(renamed[name].shape) != tuple(tensor.shape):
            report.mismatched.append(f"{name} {tuple(renamed[name].shape)} for {tuple(tensor.shape)}")
        else:
            report.matched.append(name)
    report.unexpected = [name for name in renamed if name not in own and not optional(name)]
    if report.missing or report.unexpected or report.mismatched:
        raise UserError(f"{source} does not fit {type(model).__name__}: {report}")
    model.load_state_dict({name: renamed[name] for name in report.matched}, strict=False)
    return report
