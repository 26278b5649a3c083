"""Mask R-CNN on any backbone that returns maps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torchvision.models.detection.faster_rcnn import TwoMLPHead
from torchvision.models.detection.image_list import ImageList

from rmoe.models.detection.fpn import FPN
from rmoe.models.detection.roi import RoIHeads
from rmoe.models.detection.rpn import RegionProposalNetwork
from rmoe.models.detection.transform import MEAN, STD, DetectionTransform
from rmoe.models.maps import Backbone
from shared_utils import UserError


class Detector(nn.Module):
    """Backbone, pyramid, proposals, second stage.

    Args:
        backbone: images (B, 3, H, W) -> list of maps, fine to coarse; dense, or converted to experts.
        neck: list of maps -> levels by name.
        rpn: proposals from the levels.
        roi_heads: detections from levels and proposals.
        transform: images to a batch, and detections back.
        mask_padding: hand the padding of the batch to the backbone, so that a mixture's statistics leave it out; the
            backbone has to take a second argument (Swin's does).
    """

    def __init__(
        self,
        backbone: nn.Module,
        neck: nn.Module,
        rpn: nn.Module,
        roi_heads: nn.Module,
        transform: DetectionTransform,
        mask_padding: bool = False,
    ) -> None:
        super().__init__()
        self.backbone, self.neck, self.rpn, self.roi_heads = backbone, neck, rpn, roi_heads
        self.transform, self.mask_padding = transform, mask_padding

    @property
    def num_classes(self) -> int:
        """Without the background."""
        head = getattr(self.roi_heads, "stages", [self.roi_heads])[0]
        return head.box_predictor.cls_score.out_features - 1

    def features(self, images: ImageList) -> dict[str, Tensor]:
        """The levels of the pyramid."""
        if not self.mask_padding:
            return self.neck(self.backbone(images.tensors))
        padding = torch.ones_like(images.tensors[:, 0], dtype=torch.bool)
        for row, (height, width) in zip(padding, images.image_sizes, strict=True):
            row[:height, :width] = False
        return self.neck(self.backbone(images.tensors, padding))

    def forward(
        self, images: Sequence[Tensor], targets: Sequence[dict[str, Tensor]] | None = None
    ) -> dict[str, Tensor] | list[dict[str, Tensor]]:
        """Losses in training, detections in evaluation, as torchvision's detectors.

        Args:
            images: (3, H, W) each, RGB in 0..1, not normalised, of any size.
            targets: in training, for each image ``boxes`` (n, 4) xyxy pixels, ``labels`` (n,) from 1, ``masks``
                (n, H, W) 0 or 1; n may be 0.

        Returns:
            In training the named terms of the loss, weighted: their sum is minimised (a mixture's auxiliary losses are
            apart: ``rmoe.moe.auxiliary_losses(model)`` after this call). In evaluation for each image, in its original
            pixels: ``boxes`` (n, 4), ``labels`` (n,) from 1, ``scores`` (n,), highest first, ``masks`` bool (n, H, W).

        Raises:
            UserError: targets are missing in training, or one is not as described.
        """
        if self.training:
            self._check(images, targets)
        sizes = [(image.shape[-2], image.shape[-1]) for image in images]
        batch, targets = self.transform(list(images), targets)
        features = self.features(batch)
        proposals, losses = self.rpn(batch, features, targets)
        found, second = self.roi_heads(features, proposals, batch.image_sizes, targets)
        if self.training:
            return losses | second
        return self.transform.postprocess(found, batch.image_sizes, sizes)

    def _check(self, images: Sequence[Tensor], targets: Sequence[dict[str, Tensor]] | None) -> None:
        if targets is None or len(targets) != len(images):
            raise UserError("a detector in training needs the targets of every image")
        for i, (image, target) in enumerate(zip(images, targets, strict=True)):
            boxes, labels, masks = (target.get(name) for name in ("boxes", "labels", "masks"))
            if boxes is None or labels is None or masks is None:
                raise UserError(f"the target of image {i} needs boxes, labels and masks: it has {', '.join(target)}")
            if boxes.shape != (len(labels), 4) or masks.shape != (len(labels), *image.shape[-2:]):
                raise UserError(
                    f"the target of image {i} has {len(labels)} labels, boxes of shape {tuple(boxes.shape)}, masks of "
                    f"{tuple(masks.shape)}: expected (n, 4), and (n, H, W) of the image"
                )
            if boxes.device.type == "cpu" and len(boxes):
                if (boxes[:, 2:] <= boxes[:, :2]).any():
                    raise UserError(f"the target of image {i} has a box without area: leave such boxes out")
                if int(labels.min()) < 1 or int(labels.max()) > self.num_classes:
                    raise UserError(f"the target of image {i} has a label outside 1 to {self.num_classes}")


def mask_rcnn(
    backbone: Backbone,
    num_classes: int = 80,
    channels: int = 256,
    width: int = 1024,
    *,
    box_loss: Literal["l1", "smooth_l1"] = "l1",
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
    """The published Mask R-CNN on a backbone that has ``channels`` and ``strides``.

    Args:
        backbone: see ``Detector``; a CvT has three maps, or four with ``extra_level: pool``.
        num_classes: without the background.
        channels: of the pyramid and the mask head.
        width: of the box head.
        box_loss: of proposals and boxes: ``l1`` (published), ``smooth_l1`` (torchvision's).
        anchor_scale: side of an anchor in cells of its level; 8 is published.
        proposals: an image.
        rpn_samples: anchors an image that train.
        samples: boxes an image that train.
        min_size: see ``DetectionTransform``; also max_size, train_sizes.
        max_size: limit of the longer side.
        train_sizes: shorter sides in training.
        mean: see ``DetectionTransform``; also std.
        std: of the channels.
        mask_padding: see ``Detector``.
        roi_options: of ``RoIHeads``: score_threshold, nms_threshold, detections, ...
    """
    neck = FPN(backbone.channels, backbone.strides, channels)
    rpn = RegionProposalNetwork(channels, neck.strides, anchor_scale, box_loss, proposals, rpn_samples)
    head = TwoMLPHead(channels * 7 * 7, width)
    roi_heads = RoIHeads(
        num_classes, channels, backbone.strides, head, width, box_loss=box_loss, samples=samples, **roi_options
    )
    transform = DetectionTransform(min_size, max_size, train_sizes, mean, std)
    return Detector(backbone, neck, rpn, roi_heads, transform, mask_padding)
