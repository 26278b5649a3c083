"""From images of any size to a padded batch, and detections back to the original pixels (published: mmdet 2.11)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional
from torchvision.models.detection.transform import GeneralizedRCNNTransform, resize_boxes

MEAN = (123.675, 116.28, 103.53)
STD = (58.395, 57.12, 57.375)


def resized_sides(height: int, width: int, short: int = 800, long: int = 1333) -> tuple[int, int]:
    """The published rule: scale = min(long / longer side, short / shorter side), sides int(x scale + 0.5)."""
    scale = min(long / max(height, width), short / min(height, width))
    return int(height * scale + 0.5), int(width * scale + 0.5)


class DetectionTransform(GeneralizedRCNNTransform):
    """Normalise, resize, pad to a multiple of 32; and back.

    Args:
        min_size: wanted shorter side.
        max_size: limit of the longer side.
        train_sizes: in training the shorter side is drawn from these; empty: training images keep their size (the data
            pipeline has resized them); None: as in evaluation.
        mean: of the channels in 0..255, that the backbone was pre-trained with; ImageNet's is published.
        std: likewise.
    """

    def __init__(
        self,
        min_size: int = 800,
        max_size: int = 1333,
        train_sizes: Sequence[int] | None = None,
        mean: Sequence[float] = MEAN,
        std: Sequence[float] = STD,
    ) -> None:
        units = [[value / 255 for value in values] for values in (mean, std)]
        super().__init__(min_size, max_size, *units, size_divisible=32)
        self.shorter, self.train_sizes = min_size, None if train_sizes is None else tuple(train_sizes)

    def resize(self, image: Tensor, target: dict[str, Tensor] | None = None) -> tuple[Tensor, dict[str, Tensor] | None]:
        """(3, H, W) and its boxes and masks, resized."""
        height, width = old = (image.shape[-2], image.shape[-1])
        if self.training and self.train_sizes is not None:
            if not self.train_sizes:
                return image, target
            short = self.train_sizes[int(torch.randint(len(self.train_sizes), ()))]
        else:
            short = self.shorter
        new = resized_sides(height, width, short, self.max_size)
        if new != old:
            image = functional.interpolate(image[None], size=new, mode="bilinear", align_corners=False)[0]
        if target is None or new == old:
            return image, target
        target = {**target, "boxes": resize_boxes(target["boxes"], list(old), list(new))}
        if "masks" in target:
            masks = target["masks"]
            target["masks"] = (
                functional.interpolate(masks[:, None].float(), size=new)[:, 0].byte()
                if len(masks)
                else masks.new_zeros((0, *new), dtype=torch.uint8)
            )
        return image, target

    def postprocess(
        self,
        result: list[dict[str, Tensor]],
        image_shapes: Sequence[tuple[int, int]],
        original_image_sizes: Sequence[tuple[int, int]],
    ) -> list[dict[str, Tensor]]:
        """Boxes and masks in the pixels of the original images; ``masks`` become bool (n, H, W)."""
        made = []
        for found, old, new in zip(result, image_shapes, original_image_sizes, strict=True):
            boxes = resize_boxes(found["boxes"], list(old), list(new))
            made.append({**found, "boxes": boxes, "masks": paste_masks(found["masks"], boxes, new)})
        return made


def paste_masks(masks: Tensor, boxes: Tensor, size: tuple[int, int], threshold: float = 0.5) -> Tensor:
    """Masks of boxes as masks of the image: each pixel's centre looks its value up, bilinearly.

    Args:
        masks: (n, 1, m, m) probabilities.
        boxes: (n, 4) xyxy pixels.
        size: (H, W) of the image.
        threshold: from which a pixel belongs to the object.

    Returns:
        (n, H, W) bool.
    """
    height, width = size
    image = torch.zeros((len(masks), height, width), dtype=torch.bool, device=masks.device)
    for mask, box, pasted in zip(masks, boxes.float(), image, strict=True):
        left, top = (box[:2].floor().long() - 1).clamp(min=0).tolist()
        right, bottom = min(width, int(box[2].ceil()) + 1), min(height, int(box[3].ceil()) + 1)
        side = (box[2:] - box[:2]).clamp(min=1e-6)
        if right <= left or bottom <= top:
            continue
        x = (torch.arange(left, right, device=box.device) + 0.5 - box[0]) / side[0] * 2 - 1
        y = (torch.arange(top, bottom, device=box.device) + 0.5 - box[1]) / side[1] * 2 - 1
        grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)[None]
        values = functional.grid_sample(mask[None].float(), grid, align_corners=False)[0, 0]
        pasted[top:bottom, left:right] = values >= threshold
    return image
