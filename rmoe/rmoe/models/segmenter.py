"""Semantic segmentation: any backbone that returns maps, a head, and (in training) an auxiliary head."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from rmoe.models.maps import Backbone
from rmoe.models.mosaic_net import LinearHead
from rmoe.models.upernet import FCNHead, UperNetHead, resize
from shared_utils import UserError


def segmentation_loss(logits: Tensor, labels: Tensor, ignore_index: int = 255, ignore_in_mean: bool = True) -> Tensor:
    """Cross entropy of logits resized to the label; 0 with zero gradients where every pixel is ignored.

    Args:
        logits: (B, classes, h, w); resized bilinearly to the label's size.
        labels: (B, H, W) integers.
        ignore_index: label of pixels without a class.
        ignore_in_mean: divide by all pixels, those ignored too, as the published models were trained (mmseg 0.x);
            false: by the pixels that have a class.

    Returns:
        The loss, a scalar in float32.
    """
    logits = resize(logits.float(), labels.shape[-2:])
    total = functional.cross_entropy(logits, labels.long(), ignore_index=ignore_index, reduction="sum")
    if ignore_in_mean:
        return total / labels.numel()
    return total / (labels != ignore_index).sum().clamp(min=1)


class Segmenter(nn.Module):
    """Backbone, decode head and auxiliary head.

    Args:
        backbone: images (B, 3, H, W) -> list of maps, fine to coarse; dense, or converted to experts.
        decode_head: list of maps -> logits (B, classes, h, w).
        auxiliary_head: the same, used in training only; None: none.
        auxiliary_weight: of its loss.
        ignore_index: label of pixels without a class.
        ignore_in_mean: see ``segmentation_loss``.
        mask_padding: hand the padding of the batch to the backbone, so that a mixture's statistics leave it out; the
            backbone has to take a second argument (Swin's does).
    """

    def __init__(
        self,
        backbone: Backbone,
        decode_head: UperNetHead | LinearHead,
        auxiliary_head: FCNHead | None = None,
        auxiliary_weight: float = 0.4,
        ignore_index: int = 255,
        ignore_in_mean: bool = True,
        mask_padding: bool = False,
    ) -> None:
        super().__init__()
        self.backbone, self.decode_head, self.auxiliary_head = backbone, decode_head, auxiliary_head
        self.auxiliary_weight = auxiliary_weight
        self.ignore_index, self.ignore_in_mean, self.mask_padding = ignore_index, ignore_in_mean, mask_padding

    @property
    def num_classes(self) -> int:
        """Classes of the decode head."""
        return self.decode_head.conv_seg.out_channels

    def features(self, images: Tensor, padding: Tensor | None = None) -> list[Tensor]:
        """The backbone's maps; padding: (B, H, W) bool, used with ``mask_padding``."""
        return self.backbone(images, padding) if self.mask_padding else self.backbone(images)

    def forward(self, images: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """Logits of every pixel.

        Args:
            images: (B, 3, H, W), normalised.
            size: of the logits; None: the images'.

        Returns:
            (B, classes, *size), float32.
        """
        logits = self.decode_head(self.features(images))
        return resize(logits.float(), size or images.shape[2:])

    def losses(self, images: Tensor, labels: Tensor, padding: Tensor | None = None) -> dict[str, Tensor]:
        """The terms of the task's loss, weighted: their sum is minimised.

        Args:
            images: (B, 3, H, W), normalised.
            labels: (B, H, W) integers, ``ignore_index`` where there is no class.
            padding: see ``features``.

        Returns:
            ``loss_main``, and with an auxiliary head ``loss_auxiliary``. A mixture's auxiliary losses are apart:
            ``rmoe.moe.auxiliary_losses(model)`` after this call.

        Raises:
            UserError: a label is neither a class of the head nor ``ignore_index``.
        """
        self._check(labels)
        maps = self.features(images, padding)
        options = {"ignore_index": self.ignore_index, "ignore_in_mean": self.ignore_in_mean}
        terms = {"loss_main": segmentation_loss(self.decode_head(maps), labels, **options)}
        if self.auxiliary_head is not None:
            loss = segmentation_loss(self.auxiliary_head(maps), labels, **options)
            terms["loss_auxiliary"] = self.auxiliary_weight * loss
        return terms

    def _check(self, labels: Tensor) -> None:
        wrong = (labels != self.ignore_index) & ((labels >= self.num_classes) | (labels < 0))
        # On a GPU the loss's own check stops an invalid class; asking here would wait for the device in every step.
        if labels.device.type == "cpu" and wrong.any():
            raise UserError(
                f"a label has the value {int(labels[wrong][0])}: the model has classes 0 to {self.num_classes - 1}, "
                f"and {self.ignore_index} is for pixels without one"
            )


def upernet(
    backbone: Backbone,
    num_classes: int,
    channels: int = 512,
    auxiliary_channels: int = 256,
    auxiliary: bool = True,
    **options: Any,
) -> Segmenter:
    """The published segmentation model on a backbone that has ``channels``.

    Args:
        backbone: see ``Segmenter``.
        num_classes: 150 for ADE20K.
        channels: width of UperNet.
        auxiliary_channels: width of the auxiliary head, which stands on the last map but one (of four: map 2).
        auxiliary: whether there is one.
        options: of ``Segmenter``.
    """
    widths = list(backbone.channels)
    index = max(0, len(widths) - 2)
    auxiliary_head = FCNHead(widths[index], num_classes, index, auxiliary_channels) if auxiliary else None
    return Segmenter(backbone, UperNetHead(widths, num_classes, channels), auxiliary_head, **options)


__all__ = ["FCNHead", "Segmenter", "UperNetHead", "segmentation_loss", "upernet"]
