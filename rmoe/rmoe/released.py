"""Any released file as a model of ours with its description: whose it is follows from its entries."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from rmoe import published
from rmoe.description import Description
from rmoe.models.detection import Detector
from rmoe.models.detection.cascade import CascadeRoIHeads
from rmoe.models.segmenter import Segmenter
from rmoe.published.detection import build_detector
from rmoe.published.layouts import network_options
from rmoe.published.loading import Report
from rmoe.published.reading import rank_files
from rmoe.published.segmentation import build_segmenter
from rmoe.published.swin_moe import moe_options
from rmoe.published.whole import class_names
from shared_utils import UserError


def open_released(source: str | Path, image_size: int | None = None) -> tuple[nn.Module, Description, Report]:
    """The model of a released file.

    Args:
        source: a file of any layout of ``rmoe.published``: Swin (official, timm, OpenMMLab), CvT, UperNet, Mask and
            Cascade Mask R-CNN, Swin-MoE (whole, or one file a rank: any of them, or the name before ``.rank0``).
        image_size: of a Swin classifier; 32 windows where not given (224 with a window of 7, 384 with 12), 192 of a
            Swin-MoE.

    Raises:
        UserError: it is none of these, or damaged; a rank's file is missing.
    """
    path = Path(source)
    if rank_files(path):
        return _swin_moe(path, image_size)
    return from_content(published.read(path), str(path), image_size)


def from_content(content: Any, source: str, image_size: int | None = None) -> tuple[nn.Module, Description, Report]:
    """As ``open_released``, of a file that has been read."""
    state = published.unwrap(content, source)
    if any(name.startswith("roi_head.") for name in state):
        model, report = build_detector(content, source=source)
        return model, Description(_of_detector(model, class_names(content))), report
    if any(name.startswith("decode_head.") for name in state):
        model, report = build_segmenter(content, source=source)
        return model, Description(_of_segmenter(model, class_names(content))), report
    if published.recognise(state, source) == "swin_moe":
        return _swin_moe(Path(source), image_size)
    return _backbone_or_classifier(content, state, source, image_size)


def _backbone_or_classifier(
    content: Any, state: Mapping[str, Tensor], source: str, image_size: int | None
) -> tuple[nn.Module, Description, Report]:
    layout = published.recognise(state, source)
    if layout == "rmoe":
        raise UserError(f"{source} has experts but no description of them: give the folder or file that convert wrote")
    entries = published.to_ours(state, layout)
    options = network_options(entries)
    classes = options.pop("num_classes", 0)
    name = "cvt_13" if "dims" in options else "swin_t"
    if not classes:
        model, report = published.build_backbone(content)
        return model, Description({"task": "backbone", "backbone": {"name": name, **options}, "num_classes": 0}), report
    if name == "swin_t":
        options["image_size"] = image_size or 32 * options["window"]
    model, report = published.build_classifier(content, **options)
    network = {"task": "classification", "backbone": {"name": name, **options}, "num_classes": [classes]}
    return model, Description(network), report


def _swin_moe(path: Path, image_size: int | None) -> tuple[nn.Module, Description, Report]:
    model, report = published.build_swin_moe(path, **({} if image_size is None else {"image_size": image_size}))
    options = moe_options(model.state_dict())
    classes = options.pop("num_classes", 0)
    options["image_size"] = model.image_size
    network = {"task": "classification", "backbone": {"name": "swin_moe", **options}, "num_classes": [classes]}
    return model, Description(network), report


def _backbone_of(model: nn.Module) -> dict[str, Any]:
    """{name, options} of the backbone inside, by its entries."""
    inside = {n.removeprefix("backbone."): v for n, v in model.state_dict().items() if n.startswith("backbone.")}
    options = {key: value for key, value in network_options(inside).items() if key != "num_classes"}
    return {"name": "cvt_13" if "dims" in options else "swin_t", **options}


def _of_segmenter(model: Segmenter, names: list[str] | None) -> dict[str, Any]:
    auxiliary = model.auxiliary_head
    width = model.decode_head.conv_seg.in_channels
    return {
        "task": "segmentation",
        "backbone": _backbone_of(model),
        "head": "upernet",
        "head_channels": width,
        "auxiliary_head": auxiliary is not None,
        "auxiliary_channels": width // 2 if auxiliary is None else auxiliary.conv_seg.in_channels,
        "num_classes": model.num_classes,
        "class_names": names,
    }


def _of_detector(model: Detector, names: list[str] | None) -> dict[str, Any]:
    cascade = isinstance(model.roi_heads, CascadeRoIHeads)
    state = model.state_dict()
    channels = state["neck.pyramid.layer_blocks.0.0.weight"].shape[0]
    width = state[f"roi_heads.{'stages.0.' if cascade else ''}box_predictor.cls_score.weight"].shape[1]
    return {
        "task": "detection",
        "backbone": _backbone_of(model),
        "detector": "cascade_mask_rcnn" if cascade else "mask_rcnn",
        "detector_options": {"channels": channels, "width": width},
        "num_classes": model.num_classes,
        "class_names": names,
    }
