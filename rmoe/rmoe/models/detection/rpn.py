"""Region proposals: torchvision's network with the published anchors, loss and numbers of proposals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional
from torchvision.models.detection import rpn

from rmoe.models.detection.anchors import AnchorGenerator, BoxCoder
from shared_utils import UserError

BoxLoss = Literal["l1", "smooth_l1"]
BETA = 1 / 9


class RPNHead(rpn.RPNHead):
    """torchvision's, with outputs in float32: half-precision scores tie, and half-precision deltas are whole pixels."""

    def forward(self, x: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Maps -> objectness (B, A, h, w) and deltas (B, 4 A, h, w) of each."""
        scores, deltas = super().forward(x)
        return [s.float() for s in scores], [d.float() for d in deltas]


class RegionProposalNetwork(rpn.RegionProposalNetwork):
    """Objectness and deltas of every anchor; the best boxes of all levels.

    Args:
        channels: of the levels.
        strides: of the levels.
        scale: see ``AnchorGenerator``.
        box_loss: ``l1`` (published) or ``smooth_l1`` (torchvision's, beta 1/9).
        proposals: boxes that are left of all levels after non-maximum suppression at 0.7, in training and evaluation.
        samples: anchors an image that the loss counts.
    """

    def __init__(
        self,
        channels: int,
        strides: Sequence[int],
        scale: float = 8.0,
        box_loss: BoxLoss = "l1",
        proposals: int = 1000,
        samples: int = 256,
    ) -> None:
        if box_loss not in get_args(BoxLoss):
            raise UserError(
                f"the proposals' box_loss {box_loss!r} is unknown: choose of {', '.join(get_args(BoxLoss))}"
            )
        generator = AnchorGenerator(strides, scale)
        super().__init__(
            generator,
            RPNHead(channels, generator.num_anchors_per_location()[0]),
            fg_iou_thresh=0.7,
            bg_iou_thresh=0.3,
            batch_size_per_image=samples,
            positive_fraction=0.5,
            pre_nms_top_n={"training": 2000, "testing": 1000},
            post_nms_top_n={"training": proposals, "testing": proposals},
            nms_thresh=0.7,
        )
        self.box_coder = BoxCoder((1.0, 1.0, 1.0, 1.0))
        self.min_size = 0.0
        self.box_loss = box_loss

    def compute_loss(
        self,
        objectness: Tensor,
        pred_bbox_deltas: Tensor,
        labels: list[Tensor],
        regression_targets: list[Tensor],
    ) -> tuple[Tensor, Tensor]:
        """Cross entropy of the sampled anchors' objectness, and the box loss over their number."""
        positive, negative = (torch.where(torch.cat(masks))[0] for masks in self.fg_bg_sampler(labels))
        sampled = torch.cat([positive, negative])
        deltas, targets = pred_bbox_deltas[positive], torch.cat(regression_targets)[positive]
        if self.box_loss == "l1":
            box_loss = functional.l1_loss(deltas, targets, reduction="sum")
        else:
            box_loss = functional.smooth_l1_loss(deltas, targets, reduction="sum", beta=BETA)
        scores = objectness.flatten()[sampled]
        score_loss = functional.binary_cross_entropy_with_logits(scores, torch.cat(labels)[sampled])
        return score_loss, box_loss / max(1, len(sampled))
