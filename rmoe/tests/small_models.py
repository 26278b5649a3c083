"""Small networks that several test files share."""

import torch

from rmoe.models import SwinBackbone
from rmoe.models.detection import cascade_mask_rcnn, mask_rcnn
from rmoe.models.segmenter import upernet


def backbone(**options):
    widths = {"embed_dim": 8, "depths": (1, 1, 2, 1), "num_heads": (1, 1, 2, 2), "window": 4, "drop_path_rate": 0.0}
    return SwinBackbone(**{**widths, **options})


def segmenter(num_classes=5, **options):
    return upernet(backbone(), num_classes, channels=8, auxiliary_channels=8, **options)


def detector(make=mask_rcnn, num_classes=3, **options):
    sizes = {"min_size": 64, "max_size": 96, "proposals": 50, "rpn_samples": 32, "samples": 32}
    return make(backbone(), num_classes, 8, 16, **{**sizes, **options})


def cascade(**options):
    return detector(cascade_mask_rcnn, **options)


def targets(size=(64, 64)):
    """Two images: one with two objects, one with none."""
    height, width = size
    masks = torch.zeros(2, height, width, dtype=torch.uint8)
    masks[0, 4:30, 6:28] = 1
    masks[1, 20:60, 30:62] = 1
    boxes = torch.tensor([[6.0, 4, 28, 30], [30, 20, 62, 60]])
    some = {"boxes": boxes, "labels": torch.tensor([1, 3]), "masks": masks}
    none = {"boxes": boxes[:0], "labels": torch.tensor([], dtype=torch.int64), "masks": masks[:0]}
    return [some, none]
