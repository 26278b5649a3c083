"""Adapters of the golden cases of the heads, losses, metrics and schedules."""

import numpy as np
import torch

from rmoe.evaluation.segmentation import ConfusionMatrix
from rmoe.models.detection import FPN, AnchorGenerator, BoxCoder
from rmoe.models.segmenter import segmentation_loss
from rmoe.models.upernet import FCNHead, UperNetHead
from rmoe.published.detection import _rules
from rmoe.published.layouts import rename
from rmoe.published.loading import load
from rmoe.schedules import poly


def _maps(case):
    return [torch.from_numpy(x) for _, x in sorted(case.inputs().items())]


@torch.no_grad()
def uper_head(case):
    config = case.config
    head = UperNetHead(config["in_channels"], config["num_classes"], config["channels"], config["pool_scales"]).eval()
    load(head, case.state_dict())
    return {"logits": head(_maps(case))}


@torch.no_grad()
def fcn_head(case):
    config = case.config
    head = FCNHead(config["in_channels"], config["num_classes"], config["in_index"], config["channels"]).eval()
    load(head, case.state_dict())
    return {"logits": head(_maps(case))}


def loss(case):
    inputs = case.inputs()
    logits = torch.from_numpy(inputs["logits"]).requires_grad_()
    label = torch.from_numpy(inputs["label"])
    label[label >= case.config["num_classes"]] = 255
    value = segmentation_loss(logits, label)
    (gradient,) = torch.autograd.grad(value, logits)
    valid = (label != 255).float().mean()
    return {"loss": value.reshape(1), "grad_logits": gradient, "valid_fraction": valid.reshape(1)}


@torch.no_grad()
def fpn(case):
    config = case.config
    neck = FPN(config["in_channels"], [4, 8, 16, 32], config["out_channels"]).eval()
    state = {f"neck.{name}": value for name, value in case.state_dict().items()}
    ours = rename(state, _rules(cascade=False))
    load(neck, {name.removeprefix("neck."): value for name, value in ours.items()})
    return {f"p{level + 2}": x for level, x in enumerate(neck(_maps(case)).values())}


def anchors_and_boxes(case):
    config = case.config
    generator = AnchorGenerator(config["strides"], config["scales"][0], config["ratios"])
    anchors = generator.of_maps([tuple(size) for size in config["feature_sizes"]], torch.device("cpu"))
    deltas, together = torch.from_numpy(case.inputs()["deltas"]), torch.cat(anchors)
    height, width = config["max_shape"]
    decoded = {}
    for name, weights in (("decoded_rpn", (1.0, 1.0, 1.0, 1.0)), ("decoded_rcnn", (10.0, 10.0, 5.0, 5.0))):
        boxes = BoxCoder(weights).decode_single(deltas, together)
        limit = torch.tensor([width, height, width, height])
        decoded[name] = boxes.clamp(min=0).minimum(limit)
    return {**{f"anchors{i}": a for i, a in enumerate(anchors)}, **decoded}


def miou(case):
    inputs = case.inputs()
    truth = inputs["gt"]
    prediction = np.where(inputs["mix"] == 1, np.maximum(truth - 1, 0), inputs["pred_raw"])
    label = np.where(truth == 0, 255, truth - 1)
    matrix = ConfusionMatrix(case.config["num_classes"])
    for one, other in zip(prediction, label, strict=True):
        matrix.update(torch.from_numpy(one), torch.from_numpy(other))
    scores = matrix.scores()
    return {
        "aAcc": np.array([scores.pixel_accuracy]),
        "class_acc": scores.accuracy,
        "iou": scores.iou,
        "mIoU": np.array([scores.mean_iou]),
        "mAcc": np.array([scores.mean_accuracy]),
    }


def poly_schedule(case):
    config = case.config
    factor = poly(
        config["total_iters"],
        config["power"],
        config["warmup_iters"],
        config["warmup_ratio"],
        config["min_lr"] / config["base_lr"],
    )
    return {"lr": np.array([1e6 * config["base_lr"] * factor(t) for t in case.inputs()["iteration"]])}


ADAPTERS = {
    "mmseg.models.decode_heads.uper_head.UPerHead (SyncBN run as BN)": uper_head,
    "mmseg.models.decode_heads.fcn_head.FCNHead": fcn_head,
    "BaseDecodeHead.losses: resize logits to the label, CrossEntropyLoss(ignore_index=255)": loss,
    "mmdet.models.necks.fpn.FPN": fpn,
    "AnchorGenerator.grid_anchors, delta2bbox": anchors_and_boxes,
    "mmseg.core.evaluation.metrics.eval_metrics(mIoU, reduce_zero_label=True)": miou,
    "lr(t) for the Swin UperNet 160k schedule": poly_schedule,
}
