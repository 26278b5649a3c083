"""The published augmentations, on tensors: of ADE20K (mmseg 0.x) and of COCO (the detection fork of Swin)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional

from rmoe.data.coco import DetectionSample
from rmoe.data.files import IGNORE, LabelledImage
from shared_utils import UserError

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


def _uniform(low: float, high: float) -> float:
    return float(torch.empty(()).uniform_(low, high))


def _coin() -> bool:
    return bool(torch.rand(()) < 0.5)


def _integer(low: int, high: int) -> int:
    """Of low..high, both possible."""
    return int(torch.randint(low, high + 1, ()))


def normalise(image: Tensor) -> Tensor:
    """(3, H, W) 0..255 -> float32 by the mean and deviation of ImageNet."""
    mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
    return (image.float() - mean) / std


def fitted(height: int, width: int, long: float, short: float) -> tuple[int, int]:
    """Sides scaled by min(long / longer, short / shorter), rounded by int(x + 0.5), as mmcv does."""
    scale = min(long / max(height, width), short / min(height, width))
    return int(height * scale + 0.5), int(width * scale + 0.5)


def resize_image(image: Tensor, size: tuple[int, int]) -> Tensor:
    """(3, H, W) uint8 -> (3, *size), bilinear without smoothing, as OpenCV does."""
    return functional.resize(image, list(size), antialias=False)


def resize_mask(mask: Tensor, size: tuple[int, int]) -> Tensor:
    """(..., H, W) -> (..., *size), nearest pixel."""
    shape = mask.shape[:-2]
    resized = functional.resize(
        mask.reshape(-1, 1, *mask.shape[-2:]), list(size), interpolation=functional.InterpolationMode.NEAREST
    )
    return resized.reshape(*shape, *size)


def photometric_distortion(image: Tensor) -> Tensor:
    """Brightness +-32, contrast and saturation 0.5 to 1.5, hue +-18 of 180, each with probability 1/2.

    Args:
        image: (3, H, W) uint8.

    Returns:
        (3, H, W) uint8; contrast comes before saturation and hue or after them.
    """
    contrast_first = _coin()
    if _coin():
        image = _linear(image, 1.0, _uniform(-32, 32))
    if contrast_first and _coin():
        image = _linear(image, _uniform(0.5, 1.5), 0.0)
    if _coin():
        image = _saturate(image, _uniform(0.5, 1.5))
    if _coin():
        image = functional.adjust_hue(image, _uniform(-18, 18) / 180)
    if not contrast_first and _coin():
        image = _linear(image, _uniform(0.5, 1.5), 0.0)
    return image


def _linear(image: Tensor, factor: float, offset: float) -> Tensor:
    return (image.float() * factor + offset).clamp(0, 255).to(torch.uint8)


def _saturate(image: Tensor, factor: float) -> Tensor:
    """Times the saturation of HSV, at most 1: each colour's distance from the largest of its pixel is scaled."""
    value = image.float()
    largest = value.amax(0, keepdim=True)
    saturation = 1 - value.amin(0, keepdim=True) / largest.clamp(min=1)
    scale = torch.minimum(torch.tensor(factor), 1 / saturation.clamp(min=1e-6))
    return (largest - (largest - value) * scale).clamp(0, 255).round().to(torch.uint8)


def crop_window(
    label: Tensor, size: int, largest_share: float = 0.75, tries: int = 10, ignore_index: int = IGNORE
) -> tuple[int, int]:
    """Top and left of a random crop in which no single class has more than ``largest_share`` of the labelled pixels.

    After ``tries`` more draws the last one is taken as it is.
    """
    height, width = label.shape
    place = (0, 0)
    for _ in range(tries + 1):
        place = _integer(0, max(height - size, 0)), _integer(0, max(width - size, 0))
        part = label[place[0] : place[0] + size, place[1] : place[1] + size]
        _, counts = part[part != ignore_index].unique(return_counts=True)
        if len(counts) > 1 and counts.max() / counts.sum() < largest_share:
            break
    return place


class SegmentationAugmentation:
    """Resize keeping the ratio, crop, flip, distort the colours, normalise, pad: the published training of ADE20K.

    Args:
        crop: side of the result.
        long: limit of the longer side before the random ratio.
        short: of the shorter side.
        ratios: between which the size is drawn.
    """

    def __init__(
        self, crop: int = 512, long: int = 2048, short: int = 512, ratios: tuple[float, float] = (0.5, 2.0)
    ) -> None:
        self.crop, self.long, self.short, self.ratios = crop, long, short, (ratios[0], ratios[1])

    def __call__(self, sample: LabelledImage) -> dict[str, Any]:
        """``image`` (3, crop, crop) normalised, ``label`` (crop, crop), ``padding`` (crop, crop) bool."""
        ratio = _uniform(*self.ratios)
        height, width = sample.label.shape
        size = fitted(height, width, int(self.long * ratio), int(self.short * ratio))
        image, label = resize_image(sample.image, size), resize_mask(sample.label, size)
        top, left = crop_window(label, self.crop)
        image = image[:, top : top + self.crop, left : left + self.crop]
        label = label[top : top + self.crop, left : left + self.crop]
        if _coin():
            image, label = image.flip(-1), label.flip(-1)
        image = normalise(photometric_distortion(image))
        missing = [0, self.crop - label.shape[1], 0, self.crop - label.shape[0]]
        padding = torch.nn.functional.pad(torch.zeros_like(label, dtype=torch.bool), missing, value=True)
        label = torch.nn.functional.pad(label, missing, value=IGNORE)
        return {
            "image": torch.nn.functional.pad(image, missing),
            "label": label,
            "padding": padding,
            "name": sample.name,
        }


class SegmentationEvaluation:
    """Resize to at most ``long`` and ``short``, normalise; the label stays at its own size."""

    def __init__(self, long: int = 2048, short: int = 512) -> None:
        self.long, self.short = long, short

    def __call__(self, sample: LabelledImage) -> dict[str, Any]:
        """``image`` (3, h, w) normalised, ``label`` (H, W)."""
        height, width = sample.label.shape
        size = fitted(height, width, self.long, self.short)
        return {"image": normalise(resize_image(sample.image, size)), "label": sample.label, "name": sample.name}


Policy = Literal["published", "multi_scale", "flip", "none"]


class DetectionAugmentation:
    """The published training of COCO; images become floats of 0 to 1, which the detector normalises and pads to 32.

    Args:
        policy: ``published``: flip, then either another size or a crop of one and then another size; ``multi_scale``:
            flip, another size; ``flip``; ``none``.
        short_sides: of the sizes.
        long: limit of the longer side.
        crop_short_sides: of the size before a crop, whose longer side has no limit to speak of (4,200).
        crop: least and largest side of a crop.
    """

    def __init__(
        self,
        policy: Policy = "published",
        short_sides: Sequence[int] = tuple(range(480, 801, 32)),
        long: int = 1333,
        crop_short_sides: Sequence[int] = (400, 500, 600),
        crop: tuple[int, int] = (384, 600),
    ) -> None:
        if policy not in ("published", "multi_scale", "flip", "none"):
            raise UserError(f"policy {policy!r} is unknown: choose of published, multi_scale, flip, none")
        self.policy, self.short_sides, self.long = policy, tuple(short_sides), long
        self.crop_short_sides, self.crop = tuple(crop_short_sides), tuple(crop)

    def __call__(self, sample: DetectionSample) -> DetectionSample:
        """The sample with its image as float; it may have lost all objects to a crop."""
        image, target = sample.image, dict(sample.target)
        if self.policy != "none" and _coin():
            image, target = flip(image, target)
        if self.policy == "published" and _coin():
            image, target = resize(image, target, self._drawn(self.crop_short_sides), 4200)
            image, target = self._cropped(image, target)
        if self.policy in ("published", "multi_scale"):
            image, target = resize(image, target, self._drawn(self.short_sides), self.long)
        return DetectionSample(image.float() / 255, target, sample.name)

    @staticmethod
    def _drawn(values: Sequence[int]) -> int:
        return values[_integer(0, len(values) - 1)]

    def _cropped(self, image: Tensor, target: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        height, width = image.shape[1:]
        low, high = self.crop
        rows = _integer(min(height, low), min(height, high))
        columns = _integer(min(width, low), min(width, high))
        return crop_to(image, target, _integer(0, height - rows), _integer(0, width - columns), rows, columns)


def flip(image: Tensor, target: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    """Left and right exchanged."""
    boxes = target["boxes"].clone()
    boxes[:, [0, 2]] = image.shape[-1] - boxes[:, [2, 0]]
    return image.flip(-1), {**target, "boxes": boxes, "masks": target["masks"].flip(-1)}


def resize(image: Tensor, target: dict[str, Tensor], short: int, long: int) -> tuple[Tensor, dict[str, Tensor]]:
    """To the size of ``fitted``."""
    height, width = image.shape[-2:]
    size = fitted(height, width, long, short)
    scale = torch.tensor([size[1] / width, size[0] / height] * 2)
    masks = resize_mask(target["masks"], size) if len(target["masks"]) else target["masks"].new_zeros((0, *size))
    return resize_image(image, size), {**target, "boxes": target["boxes"] * scale, "masks": masks}


def crop_to(
    image: Tensor, target: dict[str, Tensor], top: int, left: int, height: int, width: int
) -> tuple[Tensor, dict[str, Tensor]]:
    """A window; objects of which no box is left are removed."""
    offset = torch.tensor([left, top, left, top])
    limit = torch.tensor([width, height, width, height])
    boxes = torch.minimum((target["boxes"] - offset).clamp(min=0), limit)
    kept = (boxes[:, 2:] > boxes[:, :2]).all(1)
    masks = target["masks"][kept, top : top + height, left : left + width]
    each = {name: target[name][kept] for name in ("labels", "iscrowd", "area") if name in target}
    image = image[:, top : top + height, left : left + width]
    return image, {**target, **each, "boxes": boxes[kept], "masks": masks.contiguous()}


def collate_segmentation(samples: Sequence[dict[str, Any] | None]) -> dict[str, Any] | None:
    """A batch of equal sizes; what could not be read (None) is left out; None where nothing is left."""
    kept = [sample for sample in samples if sample is not None]
    if not kept:
        return None
    return {
        name: [sample[name] for sample in kept] if name == "name" else torch.stack([sample[name] for sample in kept])
        for name in kept[0]
    }


def collate_detection(samples: Sequence[DetectionSample | None]) -> list[DetectionSample] | None:
    """A list; what could not be read is left out; None where nothing is left."""
    return [sample for sample in samples if sample is not None] or None


Transform = Callable[[Any], Any]
