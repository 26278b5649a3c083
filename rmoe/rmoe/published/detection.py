"""Released ``mask_rcnn_swin_*`` and ``cascade_mask_rcnn_swin_*`` files (mmdet 2.x) and our detectors, both ways.

The published classifier has the background last, ours first; published boxes and masks have no background, ours a row of
zeros for it, which nothing reads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from rmoe.models.detection import Detector, cascade_mask_rcnn, mask_rcnn
from rmoe.models.detection.cascade import CascadeRoIHeads
from rmoe.published.layouts import Layout, rename
from rmoe.published.loading import Report, load
from rmoe.published.whole import dense_entries, make_backbone, open_whole, split_backbone, with_prefix
from shared_utils import UserError

_NEEDED, _KIND = "roi_head.bbox_head.", "detection model"
_CLASSES = r"\.(cls_score|bbox_pred|mask_fcn_logits)\."

# Theirs, ours; {s} is the number of the stage and a dot, or nothing.
_SHARED = (
    ("neck.lateral_convs.{n}.conv.", "neck.pyramid.inner_blocks.{n}.0."),
    ("neck.fpn_convs.{n}.conv.", "neck.pyramid.layer_blocks.{n}.0."),
    ("rpn_head.rpn_conv.", "rpn.head.conv.0.0."),
    ("rpn_head.rpn_cls.", "rpn.head.cls_logits."),
    ("rpn_head.rpn_reg.", "rpn.head.bbox_pred."),
)
_OF_STAGE = (
    ("bbox_head.{s}.fc_cls.", "box_predictor.cls_score."),
    ("bbox_head.{s}.fc_reg.", "box_predictor.bbox_pred."),
    ("mask_head.{s}.convs.{n}.conv.", "mask_head.{n}.0."),
    ("mask_head.{s}.upsample.", "mask_predictor.conv5_mask."),
    ("mask_head.{s}.conv_logits.", "mask_predictor.mask_fcn_logits."),
)
_TWO_LAYERS = (("bbox_head.{s}.shared_fcs.0.", "box_head.fc6."), ("bbox_head.{s}.shared_fcs.1.", "box_head.fc7."))
_FOUR_CONVOLUTIONS = (
    ("bbox_head.{s}.shared_convs.{n}.conv.", "box_head.{n}.0."),
    ("bbox_head.{s}.shared_convs.{n}.bn.", "box_head.{n}.1."),
    ("bbox_head.{s}.shared_fcs.0.", "box_head.5."),
)


def _table(cascade: bool) -> list[tuple[str, str]]:
    if cascade:
        stages = [
            ("roi_head." + theirs, "roi_heads.stages.{s}." + ours) for theirs, ours in _OF_STAGE + _FOUR_CONVOLUTIONS
        ]
    else:
        stages = [
            ("roi_head." + theirs.replace("{s}.", ""), "roi_heads." + ours) for theirs, ours in _OF_STAGE + _TWO_LAYERS
        ]
    return [*_SHARED, *stages]


def _rules(cascade: bool, inverse: bool = False) -> list[tuple[str, str]]:
    """(pattern, replacement) from their names to ours, or back."""
    pairs = [(ours, theirs) if inverse else (theirs, ours) for theirs, ours in _table(cascade)]
    rules = []
    for before, after in pairs:
        pattern = "^" + before.replace(".", r"\.")
        for mark in ("s", "n"):
            pattern = pattern.replace(f"{{{mark}}}", rf"(?P<{mark}>\d+)")
            after = after.replace(f"{{{mark}}}", rf"\g<{mark}>")
        rules.append((pattern, after))
    return rules


def _values_to_ours(name: str, value: Tensor) -> Tensor:
    if ".box_predictor.cls_score." in name:
        return value.roll(1, 0)
    rows = 4 if ".box_predictor.bbox_pred." in name else 1 if ".mask_fcn_logits." in name else 0
    return torch.cat([value.new_zeros((rows, *value.shape[1:])), value]) if rows else value


def _values_to_theirs(name: str, value: Tensor) -> Tensor:
    if ".box_predictor.cls_score." in name:
        return value.roll(-1, 0)
    rows = 4 if ".box_predictor.bbox_pred." in name else 1 if ".mask_fcn_logits." in name else 0
    return value[rows:].clone() if rows else value


def import_detector(model: Detector, content: Any, *, source: str | None = None) -> Report:
    """Load a released detector into ours; layers of another number of classes start anew, and the report says so.

    Args:
        model: of ``mask_rcnn`` or ``cascade_mask_rcnn``, dense, of the file's widths.
        content: a file, its content or a state dict.
        source: what it is called in errors.

    Raises:
        UserError: another kind of file or another architecture; the model is unchanged.
    """
    state, source = open_whole(content, source, _NEEDED, _KIND)
    cascade = _is_cascade(state)
    if cascade != isinstance(model.roi_heads, CascadeRoIHeads):
        kinds = ("Cascade Mask R-CNN", "Mask R-CNN")
        raise UserError(f"{source} is a {kinds[not cascade]}, the model a {kinds[cascade]}")
    return _load(model, state, source)


def build_detector(
    content: Any, backbone: Mapping[str, Any] | None = None, *, source: str | None = None, **options: Any
) -> tuple[Detector, Report]:
    """A detector made to fit a released file, with its weights.

    Args:
        content: a file, its content or a state dict.
        backbone: arguments of the backbone that win over what the entries tell (drop_path_rate, ...).
        source: what the file is called in errors.
        options: of ``mask_rcnn`` or ``cascade_mask_rcnn`` (num_classes for your own classes, min_size, ...).
    """
    state, source = open_whole(content, source, _NEEDED, _KIND)
    ours, rest, _ = split_backbone(state, source)
    cascade = _is_cascade(state)
    classes, width = rest[f"roi_head.bbox_head.{'0.' if cascade else ''}fc_cls.weight"].shape
    told = {"num_classes": classes - 1, "width": width, "channels": len(rest["neck.fpn_convs.0.conv.weight"])}
    make = cascade_mask_rcnn if cascade else mask_rcnn
    model = make(make_backbone(ours, backbone), **{**told, **options})
    return model, _load(model, state, source)


def export_detector(model: Detector, layout: Layout = "swin", classes: Sequence[str] | None = None) -> dict[str, Any]:
    """What the published code loads: {state_dict, meta}. Raises UserError where the model has experts."""
    entries = {name: _values_to_theirs(name, value) for name, value in dense_entries(model, layout).items()}
    rules = _rules(isinstance(model.roi_heads, CascadeRoIHeads), inverse=True)
    return {"state_dict": rename(entries, rules), "meta": {"CLASSES": list(classes or [])}}


def _is_cascade(state: Mapping[str, Tensor]) -> bool:
    return any(name.startswith("roi_head.bbox_head.0.") for name in state)


def _load(model: Detector, state: Mapping[str, Tensor], source: str) -> Report:
    ours, rest, layout = split_backbone(state, source)
    for name, value in rest.items():
        scores = rest.get(name.replace(".fc_reg.", ".fc_cls."))
        if ".fc_reg." in name and scores is not None and len(value) != 4 * (len(scores) - 1):
            raise UserError(
                f"{source} moves boxes by {len(value)} values for {len(scores) - 1} classes: only deltas of every class "
                f"({4 * (len(scores) - 1)} values) can be imported"
            )
    cascade = _is_cascade(state)
    heads = {name: _values_to_ours(name, value) for name, value in rename(rest, _rules(cascade)).items()}
    kind = f"{'cascade_' if cascade else ''}mask_rcnn_{layout}"
    return load(model, {**with_prefix(ours), **heads}, classes=_CLASSES, layout=kind, source=source)
