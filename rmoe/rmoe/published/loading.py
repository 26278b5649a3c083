"""A renamed state dict into a model: all or nothing, with what was resized, started anew or left out reported."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from rmoe.models import CvTBackbone, CvTClassifier, SwinBackbone, SwinClassifier
from rmoe.published.layouts import Layout, network_options, recognise, to_ours
from rmoe.published.reading import read, unwrap
from shared_utils import UserError
from shared_utils.checkpoint import ImportReport, import_state_dict

_TABLE = "relative_position_bias_table"


@dataclass
class Report(ImportReport):
    """What an import did.

    ``matched``: entries taken over; ``missing``: entries of the model that the file need not have and has not (they
    start anew); ``resized``: bias tables for another window; ``reinitialised``: layers of another number of classes;
    ``dropped``: entries of the file that the model has no use for.
    """

    resized: list[str] = field(default_factory=list)
    reinitialised: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    layout: str = ""

    def __str__(self) -> str:
        lines = [f"{self.layout} layout: {len(self.matched)} entries matched" if self.layout else super().__str__()]
        for kind, names in (
            ("bias tables resized to the window", self.resized),
            ("started anew, for the number of classes differs", self.reinitialised),
            ("not in the file, started anew", self.missing),
            ("of the file not used", self.dropped),
        ):
            if names:
                lines.append(f"{len(names)} {kind}: {', '.join(names[:6])}{', ...' if len(names) > 6 else ''}")
        return "; ".join(lines)


def load(
    model: nn.Module,
    state: Mapping[str, Tensor],
    *,
    fresh: str = r"(?!)",
    drop: str = r"(?!)",
    classes: str = r"(?!)",
    layout: str = "",
    source: str = "the checkpoint",
) -> Report:
    """Load entries under our names into a model.

    Args:
        model: takes the weights.
        state: the entries.
        fresh: regular expression of entries of the model that the file may lack; they keep their values.
        drop: regular expression of entries of the file that are left out on purpose.
        classes: regular expression of entries whose first dimension counts classes: where only that differs, the layer
            keeps its fresh values, and the report says so.
        layout: for the report.
        source: what the file is called in the error.

    Returns:
        The report.

    Raises:
        UserError: entries are missing, unexpected or of another shape; the model is then unchanged.
    """
    own = model.state_dict()
    report = Report(layout=layout)
    given: dict[str, Tensor] = {}
    for name, value in state.items():
        if re.search(drop, name):
            report.dropped.append(name)
            continue
        target = own.get(name)
        if target is not None and target.shape != value.shape:
            if name.endswith(_TABLE) and value.ndim == 2 and value.shape[1] == target.shape[1]:
                value = resize_bias_table(value, target.shape[0])
                report.resized.append(name)
            elif re.search(classes, name) and target.shape[1:] == value.shape[1:]:
                report.reinitialised.append(name)
                continue
        given[name] = value
    restarted = set(report.reinitialised)

    def optional(name: str) -> bool:
        return name in restarted or bool(re.search(fresh, name) and name in own) or name.endswith("num_batches_tracked")

    found = import_state_dict(model, given, optional=optional, source=source)
    report.matched = found.matched
    report.missing = [n for n in own if n not in given and n not in restarted and not n.endswith("num_batches_tracked")]
    return report


def resize_bias_table(table: Tensor, length: int) -> Tensor:
    """A bias table for another window, bicubic over the relative positions: (L, heads) -> (length, heads)."""
    old, new = round(table.shape[0] ** 0.5), round(length**0.5)
    if old * old != table.shape[0] or new * new != length:
        raise UserError(f"a bias table of {table.shape[0]} rows cannot be resized to {length}: windows are square")
    grid = table.T.reshape(1, -1, old, old).float()
    resized = functional.interpolate(grid, size=(new, new), mode="bicubic", align_corners=False)
    return resized.reshape(table.shape[1], -1).T.to(table.dtype).contiguous()


def import_backbone(
    model: nn.Module, content: Any, *, layout: Layout | None = None, source: str | None = None
) -> Report:
    """Load a published Swin or CvT, of any layout, classifier or dense, into a dense-prediction backbone.

    Args:
        model: a ``SwinBackbone`` or ``CvTBackbone``.
        content: a file, its content or a state dict.
        layout: recognised by the entries where not given.
        source: what it is called in errors.

    Returns:
        The report: of a classifier's file ``norm`` and ``head`` are dropped and ``norm0`` ... start anew.

    Raises:
        UserError: another architecture, with names and shapes of what does not fit; the model is unchanged.
    """
    state, layout, source = _ours(content, layout, source)
    return load(model, state, fresh=r"^norm\d\.", drop=r"^(norm|head)\.", layout=layout, source=source)


def import_classifier(
    model: nn.Module, content: Any, *, layout: Layout | None = None, source: str | None = None
) -> Report:
    """Load a published classifier into ours; a head of another number of classes starts anew (see ``import_backbone``)."""
    state, layout, source = _ours(content, layout, source)
    return load(model, state, drop=r"^norm\d\.", classes=r"^head\.", layout=layout, source=source)


def _ours(content: Any, layout: Layout | None, source: str | None) -> tuple[dict[str, Tensor], Layout, str]:
    if isinstance(content, str | Path):
        source = source or str(content)
        content = read(content)
    source = source or "the checkpoint"
    state = unwrap(content, source)
    layout = layout or recognise(state, source)
    if layout in ("swin_moe", "rmoe"):
        raise UserError(f"{source} is of the {layout} layout, which has experts: it is not a dense Swin or CvT")
    return to_ours(state, layout), layout, source


def build_classifier(content: Any, **options: Any) -> tuple[nn.Module, Report]:
    """A classifier made to fit a published file, with its weights; ``options`` win over what the entries tell."""
    state, layout, source = _ours(content, None, None)
    kind = CvTClassifier if layout == "cvt" else SwinClassifier
    model = kind(**{"num_classes": 0, **network_options(state), **options})
    return model, load(model, state, drop=r"^norm\d\.", classes=r"^head\.", layout=layout, source=source)


def build_backbone(content: Any, **options: Any) -> tuple[nn.Module, Report]:
    """A dense-prediction backbone made to fit a published file, with its weights."""
    state, layout, source = _ours(content, None, None)
    kind: Callable[..., nn.Module] = CvTBackbone if layout == "cvt" else SwinBackbone
    told = {name: value for name, value in network_options(state).items() if name != "num_classes"}
    model = kind(**{**told, **options})
    return model, load(model, state, fresh=r"^norm\d\.", drop=r"^(norm|head)\.", layout=layout, source=source)
