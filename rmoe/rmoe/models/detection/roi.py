"""Regions of interest: pooling from the pyramid, the sampled boxes, box and mask losses of one head.

``RoIHeads`` is a whole second stage (Mask R-CNN) and one stage of three (Cascade Mask R-CNN).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.detection import _utils as detection_utils
from torchvision.models.detection import roi_heads
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.ops import clip_boxes_to_image, roi_align

from rmoe.models.detection.anchors import BoxCoder
from shared_utils import UserError

BoxLoss = Literal["l1", "smooth_l1", "giou"]
Targets = Sequence[Mapping[str, Tensor]]


class RoIPooler(nn.Module):
    """RoIAlign with aligned corners and as many samples as the box has cells, from the level of the box's size.

    Args:
        size: side of the pooled map.
        strides: of the levels that are used, fine to coarse.
        finest: boxes up to twice this side (the root of their area, in pixels) come from the finest level.
    """

    def __init__(self, size: int, strides: Sequence[int], finest: float = 56.0) -> None:
        super().__init__()
        self.size, self.strides, self.finest = size, tuple(strides), finest

    def levels(self, boxes: Tensor) -> Tensor:
        """(N, 4) xyxy pixels -> (N,) floor(log2(sqrt(area) / finest + 1e-6)), within the levels."""
        width, height = (boxes[:, 2:] - boxes[:, :2]).clamp(min=0).unbind(1)
        level = torch.floor(torch.log2((width * height).sqrt() / self.finest + 1e-6))
        return level.clamp(0, len(self.strides) - 1).long()

    def forward(self, features: Mapping[str, Tensor], boxes: Sequence[Tensor]) -> Tensor:
        """Pool every box.

        Args:
            features: levels, fine to coarse: (B, C, h_i, w_i).
            boxes: for each image (n, 4), xyxy pixels of the batch's images.

        Returns:
            (sum of n, C, size, size), float32.
        """
        maps = [x.float() for x in list(features.values())[: len(self.strides)]]
        image = torch.cat([x.new_full((len(x), 1), i) for i, x in enumerate(boxes)])
        rois = torch.cat([image, torch.cat(list(boxes))], dim=1).float()
        level = self.levels(rois[:, 1:])
        pooled = maps[0].new_zeros((len(rois), maps[0].shape[1], self.size, self.size))
        for i, (x, stride) in enumerate(zip(maps, self.strides, strict=True)):
            rows = torch.where(level == i)[0]
            if len(rows):
                values = roi_align(x, rois[rows], self.size, 1 / stride, sampling_ratio=0, aligned=True)
                pooled = pooled.index_copy(0, rows, values)
        return pooled


@dataclass(frozen=True)
class Samples:
    """The boxes that train one head, a tensor an image each.

    Attributes:
        proposals: (n, 4).
        labels: (n,) 0 for background.
        matched: (n,) index of the object that a box was matched with.
        boxes: (n, 4) of that object.
        is_truth: (n,) whether the proposal is an object's own box.
    """

    proposals: list[Tensor]
    labels: list[Tensor]
    matched: list[Tensor]
    boxes: list[Tensor]
    is_truth: list[Tensor]


class RoIHeads(roi_heads.RoIHeads):
    """Box head and mask head on pooled regions; classes 1 to K, 0 is the background.

    Args:
        num_classes: K.
        channels: of the pyramid.
        strides: of the levels that boxes are pooled from.
        box_head: (n, channels, 7, 7) -> (n, width).
        width: see ``box_head``.
        iou_threshold: overlap from which a box trains as the object's.
        weights: of the deltas; (10, 10, 5, 5) are standard deviations of .1, .1, .2, .2.
        box_loss: ``l1`` (published Mask R-CNN), ``smooth_l1`` (torchvision's, beta 1/9), ``giou`` of decoded boxes
            (published Cascade).
        box_loss_weight: of it.
        samples: boxes an image that train the head, a quarter of them objects'.
        score_threshold: of detections.
        nms_threshold: overlap of detections of one class.
        detections: of an image, at most.
    """

    def __init__(
        self,
        num_classes: int,
        channels: int,
        strides: Sequence[int],
        box_head: nn.Module,
        width: int = 1024,
        *,
        iou_threshold: float = 0.5,
        weights: tuple[float, float, float, float] = (10.0, 10.0, 5.0, 5.0),
        box_loss: BoxLoss = "l1",
        box_loss_weight: float = 1.0,
        samples: int = 512,
        score_threshold: float = 0.05,
        nms_threshold: float = 0.5,
        detections: int = 100,
    ) -> None:
        if box_loss not in get_args(BoxLoss):
            raise UserError(f"box_loss {box_loss!r} is unknown: choose of {', '.join(get_args(BoxLoss))}")
        self.mask_roi_pool: nn.Module
        self.mask_head: nn.Module
        self.mask_predictor: MaskRCNNPredictor
        super().__init__(
            box_roi_pool=RoIPooler(7, strides),
            box_head=box_head,
            box_predictor=FastRCNNPredictor(width, num_classes + 1),
            fg_iou_thresh=iou_threshold,
            bg_iou_thresh=iou_threshold,
            batch_size_per_image=samples,
            positive_fraction=0.25,
            bbox_reg_weights=weights,
            score_thresh=score_threshold,
            nms_thresh=nms_threshold,
            detections_per_img=detections,
            mask_roi_pool=RoIPooler(14, strides),
            mask_head=MaskRCNNHeads(channels, (channels,) * 4, 1),
            mask_predictor=MaskRCNNPredictor(channels, channels, num_classes + 1),
        )
        self.box_coder = BoxCoder(weights)
        self.box_loss, self.box_loss_weight = box_loss, box_loss_weight
        self._start()

    @torch.no_grad()
    def _start(self) -> None:
        predictor, masks = self.box_predictor, self.mask_predictor.get_submodule("mask_fcn_logits")
        nn.init.normal_(predictor.cls_score.weight, std=0.01)
        nn.init.normal_(predictor.bbox_pred.weight, std=0.001)
        for layer in (predictor.cls_score, predictor.bbox_pred, masks):
            nn.init.zeros_(layer.get_parameter("bias"))
        # The background has neither a box nor a mask; the published files have no rows for it.
        predictor.bbox_pred.weight[:4] = 0
        masks.get_parameter("weight")[:1] = 0

    def sample(self, proposals: Sequence[Tensor], targets: Targets) -> Samples:
        """Match proposals and the objects' own boxes with the objects, and draw those that train."""
        truth = [target["boxes"].float() for target in targets]
        own = [torch.arange(len(p) + len(t), device=p.device) >= len(p) for p, t in zip(proposals, truth, strict=True)]
        proposals = self.add_gt_proposals(list(proposals), truth)
        matched, labels = self.assign_targets_to_proposals(proposals, truth, [target["labels"] for target in targets])
        chosen = self.subsample(labels)
        matched = [m[rows] for m, rows in zip(matched, chosen, strict=True)]
        none = proposals[0].new_zeros((1, 4))
        return Samples(
            [p[rows] for p, rows in zip(proposals, chosen, strict=True)],
            [x[rows] for x, rows in zip(labels, chosen, strict=True)],
            matched,
            [(t if len(t) else none)[m] for t, m in zip(truth, matched, strict=True)],
            [o[rows] for o, rows in zip(own, chosen, strict=True)],
        )

    def predict_boxes(self, features: Mapping[str, Tensor], proposals: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Logits (N, K + 1) and deltas (N, 4 (K + 1)) of all images' proposals, float32."""
        logits, deltas = self.box_predictor(self.box_head(self.box_roi_pool(features, proposals)))
        return logits.float(), deltas.float()

    def box_losses(self, logits: Tensor, deltas: Tensor, samples: Samples) -> dict[str, Tensor]:
        """Cross entropy, and the box loss of the objects' samples over the number of all samples."""
        labels = torch.cat(samples.labels)
        if not len(labels):
            return {"loss_classifier": logits.sum() * 0, "loss_box_reg": deltas.sum() * 0}
        objects = torch.where(labels > 0)[0]
        loss = detection_utils._box_loss(
            self.box_loss,
            self.box_coder,
            torch.cat(samples.proposals)[objects],
            torch.cat(samples.boxes)[objects],
            deltas.unflatten(1, (-1, 4))[objects, labels[objects]],
            {"eps": 1e-6} if self.box_loss == "giou" else {"beta": 1 / 9},
        )
        return {
            "loss_classifier": functional.cross_entropy(logits, labels),
            "loss_box_reg": self.box_loss_weight * loss / len(labels),
        }

    def mask_loss(self, features: Mapping[str, Tensor], samples: Samples, targets: Targets) -> dict[str, Tensor]:
        """Cross entropy of the mask of each object's sample, in the channel of its class."""
        objects = [torch.where(labels > 0)[0] for labels in samples.labels]
        boxes = [p[rows] for p, rows in zip(samples.proposals, objects, strict=True)]
        labels = torch.cat([x[rows] for x, rows in zip(samples.labels, objects, strict=True)])
        logits = self.mask_predictor(self.mask_head(self.mask_roi_pool(features, boxes))).float()
        if not len(labels):
            return {"loss_mask": logits.sum() * 0}
        wanted = torch.cat(
            [
                mask_targets(target["masks"], matched[rows], box, logits.shape[-1])
                for target, matched, rows, box in zip(targets, samples.matched, objects, boxes, strict=True)
            ]
        )
        rows = torch.arange(len(labels), device=labels.device)
        return {"loss_mask": functional.binary_cross_entropy_with_logits(logits[rows, labels], wanted)}

    def masks(self, features: Mapping[str, Tensor], boxes: list[Tensor], labels: list[Tensor]) -> list[Tensor]:
        """Probabilities (n, 1, 28, 28) of each image's boxes, in the channel of their labels."""
        logits = self.mask_predictor(self.mask_head(self.mask_roi_pool(features, boxes))).float()
        return list(roi_heads.maskrcnn_inference(logits, labels))

    def refine(
        self,
        logits: Tensor,
        deltas: Tensor,
        proposals: Sequence[Tensor],
        sizes: Sequence[tuple[int, int]],
        labels: Tensor | None = None,
    ) -> list[Tensor]:
        """The proposals moved by the deltas of one class each, clipped to their images; no gradient.

        Args:
            logits: (N, K + 1).
            deltas: (N, 4 (K + 1)).
            proposals: for each image (n, 4).
            sizes: (h, w) of the images.
            labels: (N,) in training; an object's sample is moved as its class. Others: as the likeliest class.
        """
        chosen = logits[:, 1:].argmax(dim=1) + 1
        if labels is not None:
            chosen = torch.where(labels > 0, labels, chosen)
        rows = torch.arange(len(chosen), device=chosen.device)
        picked = deltas.detach().unflatten(1, (-1, 4))[rows, chosen]
        boxes = self.box_coder.decode_single(picked, torch.cat(list(proposals)))
        parts = boxes.split([len(p) for p in proposals])
        return [clip_boxes_to_image(part, size) for part, size in zip(parts, sizes, strict=True)]

    def forward(
        self,
        features: Mapping[str, Tensor],
        proposals: Sequence[Tensor],
        image_shapes: Sequence[tuple[int, int]],
        targets: Targets | None = None,
    ) -> tuple[list[dict[str, Tensor]], dict[str, Tensor]]:
        """Losses in training, detections in evaluation.

        Args:
            features: of the pyramid.
            proposals: for each image (n, 4), xyxy pixels.
            image_shapes: (h, w) of the images inside the batch.
            targets: in training: ``boxes`` (m, 4), ``labels`` (m,) from 1, ``masks`` (m, H, W).

        Returns:
            For each image boxes, labels, scores and masks (n, 1, 28, 28); and the losses. One of them is empty.
        """
        if self.training:
            samples = self.sample(proposals, targets or [])
            logits, deltas = self.predict_boxes(features, samples.proposals)
            return [], self.box_losses(logits, deltas, samples) | self.mask_loss(features, samples, targets or [])
        logits, deltas = self.predict_boxes(features, proposals)
        boxes, scores, labels = self.postprocess_detections(logits, deltas, list(proposals), list(image_shapes))
        return detections(boxes, scores, labels, self.masks(features, boxes, labels)), {}


def mask_targets(masks: Tensor, matched: Tensor, boxes: Tensor, size: int) -> Tensor:
    """Each box's part of its object's mask, pooled to (n, size, size) and cut at 0.5; 0 or 1, float32."""
    rois = torch.cat([matched[:, None].to(boxes), boxes], dim=1)
    pooled = roi_align(masks[:, None].to(boxes), rois, size, 1.0, sampling_ratio=0, aligned=True)
    return (pooled[:, 0] >= 0.5).float()


def detections(
    boxes: Sequence[Tensor], scores: Sequence[Tensor], labels: Sequence[Tensor], masks: Sequence[Tensor]
) -> list[dict[str, Tensor]]:
    """Lists of tensors, an image each, as one dict an image."""
    names = ("boxes", "scores", "labels", "masks")
    return [dict(zip(names, values, strict=True)) for values in zip(boxes, scores, labels, masks, strict=True)]
