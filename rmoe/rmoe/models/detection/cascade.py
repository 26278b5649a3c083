"""Cascade Mask R-CNN (Cai and Vasconcelos 2018): three second stages, each on the boxes that the one before has moved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection.faster_rcnn import FastRCNNConvFCHead

from rmoe.models.detection.fpn import FPN
from rmoe.models.detection.mask_rcnn import Detector
from rmoe.models.detection.roi import BoxLoss, RoIHeads, Targets, detections
from rmoe.models.detection.rpn import RegionProposalNetwork
from rmoe.models.detection.transform import MEAN, STD, DetectionTransform
from rmoe.models.maps import Backbone

IOU_THRESHOLDS = (0.5, 0.6, 0.7)
LOSS_WEIGHTS = (1.0, 0.5, 0.25)
# One over the published standard deviations .1 .1 .2 .2, .05 .05 .1 .1, .033 .033 .067 .067.
DELTA_WEIGHTS = ((10.0, 10.0, 5.0, 5.0), (20.0, 20.0, 10.0, 10.0), (1 / 0.033, 1 / 0.033, 1 / 0.067, 1 / 0.067))


class CascadeRoIHeads(nn.Module):
    """Stages that train on ever better boxes; at test their class scores and masks are averaged.

    Args:
        stages: one ``RoIHeads`` each.
        loss_weights: of the stages.
    """

    def __init__(self, stages: Sequence[RoIHeads], loss_weights: Sequence[float] = LOSS_WEIGHTS) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)
        self.loss_weights = tuple(loss_weights)

    def _stages(self) -> list[RoIHeads]:
        return [stage for stage in self.stages if isinstance(stage, RoIHeads)]

    def forward(
        self,
        features: Mapping[str, Tensor],
        proposals: Sequence[Tensor],
        image_shapes: Sequence[tuple[int, int]],
        targets: Targets | None = None,
    ) -> tuple[list[dict[str, Tensor]], dict[str, Tensor]]:
        """As ``RoIHeads.forward``; the losses' names end in the number of the stage."""
        if self.training:
            return [], self._losses(features, proposals, image_shapes, targets or [])
        return self._detect(features, proposals, image_shapes), {}

    def _losses(
        self,
        features: Mapping[str, Tensor],
        proposals: Sequence[Tensor],
        sizes: Sequence[tuple[int, int]],
        targets: Targets,
    ) -> dict[str, Tensor]:
        losses = {}
        for i, (stage, weight) in enumerate(zip(self._stages(), self.loss_weights, strict=True)):
            samples = stage.sample(proposals, targets)
            logits, deltas = stage.predict_boxes(features, samples.proposals)
            terms = stage.box_losses(logits, deltas, samples) | stage.mask_loss(features, samples, targets)
            losses |= {f"{name}_{i}": weight * term for name, term in terms.items()}
            moved = stage.refine(logits, deltas, samples.proposals, sizes, torch.cat(samples.labels))
            # The next stage adds the objects' own boxes itself.
            proposals = [boxes[~own] for boxes, own in zip(moved, samples.is_truth, strict=True)]
        return losses

    def _detect(
        self, features: Mapping[str, Tensor], proposals: Sequence[Tensor], sizes: Sequence[tuple[int, int]]
    ) -> list[dict[str, Tensor]]:
        # The published code averages what the classifiers put out, before the softmax.
        every = []
        *earlier, last = stages = self._stages()
        for stage in earlier:
            logits, deltas = stage.predict_boxes(features, proposals)
            every.append(logits)
            proposals = stage.refine(logits, deltas, proposals, sizes)
        logits, deltas = last.predict_boxes(features, proposals)
        logits = torch.stack([*every, logits]).mean(0)
        boxes, scores, labels = last.postprocess_detections(logits, deltas, list(proposals), list(sizes))
        masks = [stage.masks(features, boxes, labels) for stage in stages]
        mean = [torch.stack(of_image).mean(0) for of_image in zip(*masks, strict=True)]
        return detections(boxes, scores, labels, mean)


def cascade_mask_rcnn(
    backbone: Backbone,
    num_classes: int = 80,
    channels: int = 256,
    width: int = 1024,
    *,
    box_loss: BoxLoss = "giou",
    box_loss_weight: float = 10.0,
    anchor_scale: float = 8.0,
    proposals: int = 1000,
    rpn_samples: int = 256,
    samples: int = 512,
    min_size: int = 800,
    max_size: int = 1333,
    train_sizes: Sequence[int] | None = None,
    mean: Sequence[float] = MEAN,
    std: Sequence[float] = STD,
    mask_padding: bool = False,
    **roi_options: Any,
) -> Detector:
    """The published Cascade Mask R-CNN: four convolutions and one layer a box head, GIoU of decoded boxes.

    Args:
        backbone: see ``mask_rcnn``, also for the rest.
        num_classes: without the background.
        channels: of the pyramid, the box heads' convolutions and the mask heads.
        width: of the box heads.
        box_loss: of the stages; the proposals' is ``l1``.
        box_loss_weight: 10 for ``giou``, 1 for the others.
        anchor_scale: side of an anchor in cells of its level.
        proposals: an image.
        rpn_samples: anchors an image that train.
        samples: boxes an image and stage that train.
        min_size: see ``DetectionTransform``; also max_size, train_sizes.
        max_size: limit of the longer side.
        train_sizes: shorter sides in training.
        mean: see ``DetectionTransform``; also std.
        std: of the channels.
        mask_padding: see ``Detector``.
        roi_options: of ``RoIHeads``.
    """
    neck = FPN(backbone.channels, backbone.strides, channels)
    rpn = RegionProposalNetwork(channels, neck.strides, anchor_scale, "l1", proposals, rpn_samples)
    stages = [
        RoIHeads(
            num_classes,
            channels,
            backbone.strides,
            FastRCNNConvFCHead((channels, 7, 7), [channels] * 4, [width], norm_layer=nn.BatchNorm2d),
            width,
            iou_threshold=threshold,
            weights=weights,
            box_loss=box_loss,
            box_loss_weight=box_loss_weight,
            samples=samples,
            **roi_options,
        )
        for threshold, weights in zip(IOU_THRESHOLDS, DELTA_WEIGHTS, strict=True)
    ]
    transform = DetectionTransform(min_size, max_size, train_sizes, mean, std)
    return Detector(backbone, neck, rpn, CascadeRoIHeads(stages), transform, mask_padding)
