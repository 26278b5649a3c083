"""Released ``upernet_swin_*`` files (mmseg 0.x): our heads have the published entry names, so only the backbone maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from rmoe.models.segmenter import Segmenter, upernet
from rmoe.published.layouts import Layout
from rmoe.published.loading import Report, load
from rmoe.published.whole import dense_entries, make_backbone, open_whole, split_backbone, with_prefix

_NEEDED, _KIND = "decode_head.", "segmentation model"
_CLASSES = r"\.conv_seg\."


def import_segmenter(model: Segmenter, content: Any, *, source: str | None = None) -> Report:
    """Load a released UperNet into ours; layers of another number of classes start anew, and the report says so.

    Args:
        model: dense, of the file's widths. One without auxiliary head leaves the file's out.
        content: a file, its content or a state dict.
        source: what it is called in errors.

    Raises:
        UserError: another kind of file or another architecture; the model is unchanged.
    """
    state, source = open_whole(content, source, _NEEDED, _KIND)
    return _load(model, *split_backbone(state, source), source)


def build_segmenter(
    content: Any, backbone: Mapping[str, Any] | None = None, *, source: str | None = None, **options: Any
) -> tuple[Segmenter, Report]:
    """A segmenter made to fit a released file, with its weights.

    Args:
        content: a file, its content or a state dict.
        backbone: arguments of the backbone that win over what the entries tell (drop_path_rate, ...).
        source: what the file is called in errors.
        options: of ``upernet`` (num_classes for your own classes, ...).
    """
    state, source = open_whole(content, source, _NEEDED, _KIND)
    ours, rest, layout = split_backbone(state, source)
    classes, channels = rest["decode_head.conv_seg.weight"].shape[:2]
    told: dict[str, Any] = {"num_classes": classes, "channels": channels}
    auxiliary = rest.get("auxiliary_head.conv_seg.weight")
    told |= {"auxiliary": False} if auxiliary is None else {"auxiliary_channels": auxiliary.shape[1]}
    model = upernet(make_backbone(ours, backbone), **{**told, **options})
    return model, _load(model, ours, rest, layout, source)


def export_segmenter(model: Segmenter, layout: Layout = "swin", classes: Sequence[str] | None = None) -> dict[str, Any]:
    """What the published code loads: {state_dict, meta}. Raises UserError where the model has experts."""
    return {"state_dict": dense_entries(model, layout), "meta": {"CLASSES": list(classes or [])}}


def _load(
    model: Segmenter, ours: Mapping[str, Tensor], rest: Mapping[str, Tensor], layout: Layout, source: str
) -> Report:
    drop = r"(?!)" if model.auxiliary_head is not None else r"^auxiliary_head\."
    entries = {**with_prefix(ours), **rest}
    return load(model, entries, drop=drop, classes=_CLASSES, layout=f"upernet_{layout}", source=source)
