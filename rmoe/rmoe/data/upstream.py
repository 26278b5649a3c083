"""Upstream classification: a folder of classes (ImageFolder), with the usual augmentations of ImageNet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms import v2

from rmoe.data.files import IMAGE_ENDINGS, read_image
from rmoe.data.transforms import MEAN, STD
from shared_utils import UserError

_FOLDERS = {
    "train": ("train", "training"),
    "val": ("val", "validation", "valid"),
    "test": ("test", "val", "validation"),
}


class ImageFolder(Dataset):
    """Images in a folder a class, ``root/{train,val}/class/image.jpg``: (image (3, H, W) uint8, class).

    Args:
        root: the data set.
        split: ``train``, ``val`` or ``test``, which is validation where there is no such folder.

    Raises:
        UserError: there is no such folder, or a class of the split has no image.
    """

    def __init__(self, root: str | Path, split: str) -> None:
        folders = [Path(root) / name for name in _FOLDERS[split]]
        folder = next((path for path in folders if path.is_dir()), None)
        if folder is None:
            raise UserError(f"{folders[0]} not found (expected {{train,val}}/class/image.jpg, as ImageNet is unpacked)")
        self.names = sorted(path.name for path in folder.iterdir() if path.is_dir())
        if not self.names:
            raise UserError(f"{folder} has no folder of a class (expected {{train,val}}/class/image.jpg)")
        self.samples: list[tuple[Path, int]] = []
        for label, name in enumerate(self.names):
            found = sorted(p for p in (folder / name).rglob("*") if p.suffix.lower() in IMAGE_ENDINGS)
            if not found:
                raise UserError(f"{folder / name} holds no image")
            self.samples += [(path, label) for path in found]

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, number: int) -> tuple[Tensor, int]:
        path, label = self.samples[number]
        return read_image(path), label


class ClassifierTransform:
    """Random resized crop and flip in training, centre crop of 7/8 in evaluation; normalised.

    Swin's published pre-training adds RandAugment, erasing, mixup and cutmix; RandAugment is ``randaugment``.
    """

    def __init__(self, size: int = 224, training: bool = False, randaugment: bool = False) -> None:
        steps: list[Any] = []
        if training:
            steps = [v2.RandomResizedCrop(size, interpolation=v2.InterpolationMode.BICUBIC), v2.RandomHorizontalFlip()]
            steps += [v2.RandAugment(2, 9)] if randaugment else []
        else:
            resized = v2.Resize(round(size * 8 / 7), interpolation=v2.InterpolationMode.BICUBIC)
            steps = [resized, v2.CenterCrop(size)]
        mean, std = ([value / 255 for value in values] for values in (MEAN, STD))
        self.steps = v2.Compose([*steps, v2.ToDtype(torch.float32, scale=True), v2.Normalize(mean, std)])

    def __call__(self, sample: tuple[Tensor, int]) -> dict[str, Any]:
        """``image`` (3, size, size), ``target`` (1,)."""
        return {"image": self.steps(sample[0]), "target": torch.tensor([sample[1]])}
