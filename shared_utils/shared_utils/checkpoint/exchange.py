"""Models that come from and go to others: published state dicts by explicit rules, the Hugging Face hub mixin."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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


def find_state(
    content: Any,
    source: str = "the checkpoint",
    wrappers: Sequence[str] = ("state_dict", "model"),
    prefixes: Sequence[str] = ("module.", "_orig_mod."),
) -> dict[str, torch.Tensor]:
    """The state dict inside what a published file held, without the prefixes that all of its entries carry.

    Args:
        content: a state dict, or a mapping that holds one.
        source: its name, for messages.
        wrappers: entries under which it may be, the first of them that is there counts.
        prefixes: of wrappers such as DataParallel and ``torch.compile``.

    Raises:
        UserError: there is none, or it holds values that are not finite.
    """
    if isinstance(content, Mapping):
        content = next((content[key] for key in wrappers if isinstance(content.get(key), Mapping)), content)
    held = content if isinstance(content, Mapping) else {}
    state = {str(name): value for name, value in held.items() if torch.is_tensor(value)}
    if not state:
        keys = ", ".join(map(str, list(held)[:5])) or type(content).__name__
        raise UserError(
            f"{source} holds no state dict (it holds: {keys}): give a trained network's file, with one under "
            f"{', '.join(wrappers)} or a bare one"
        )
    while prefix := next((prefix for prefix in prefixes if all(name.startswith(prefix) for name in state)), None):
        state = {name.removeprefix(prefix): value for name, value in state.items()}
    for name, value in state.items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise UserError(f"{source}: {name} holds values that are not finite: use another checkpoint")
    return state


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
