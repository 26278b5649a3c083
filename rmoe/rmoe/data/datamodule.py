"""Batches for segmentation and for upstream classification; ``root: null`` is the procedural default."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from pytorch_lightning import LightningDataModule
from torch.utils.data import DataLoader, DistributedSampler

from rmoe.data import ade20k, coco
from rmoe.data.folders import MaskFolder, mask_folder
from rmoe.data.mosaic import Mosaic, Split
from rmoe.data.readable import Prepared, Samples
from rmoe.data.transforms import SegmentationAugmentation, SegmentationEvaluation, collate_segmentation
from rmoe.data.upstream import ClassifierTransform, ImageFolder
from shared_utils import UserError, distributed

Layout = Literal["auto", "ade20k", "folder", "coco"]
Background = Literal["ignore", "class"]
Labelled = MaskFolder | coco.CocoSegmentation


class Batches(LightningDataModule):
    """Loaders over ``dataset(split)``: training in an order that follows from (seed, epoch), the others in their own."""

    def __init__(
        self, batch_size: int, eval_batch_size: int, num_workers: int, seed: int, collate: Callable | None = None
    ) -> None:
        super().__init__()
        if batch_size < 1 or eval_batch_size < 1 or num_workers < 0:
            raise UserError("batch_size and eval_batch_size must be at least 1, num_workers not negative")
        self.batch_size, self.eval_batch_size, self.num_workers = batch_size, eval_batch_size, num_workers
        self.order_seed, self.collate = seed, collate

    def dataset(self, split: Split) -> Samples:
        """Samples as the batches have them."""
        raise NotImplementedError

    def _loader(self, split: Split) -> DataLoader:
        training = split == "train"
        dataset = self._datasets(split)
        size = self.batch_size if training else self.eval_batch_size
        if training and len(dataset) < size:
            raise UserError(f"{len(dataset)} training images make no batch of {size}: set data.batch_size lower")
        # With an order of its own a continued training sees what the unbroken one would have.
        ranks, rank = distributed.world_size(), distributed.rank()
        return DataLoader(
            dataset,
            size,
            sampler=DistributedSampler(dataset, ranks, rank, seed=self.order_seed) if training else None,
            # A smaller last batch would weigh more, and BatchNorm of a single image fails.
            drop_last=training,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            collate_fn=self.collate,
            pin_memory=torch.cuda.is_available(),
        )

    def _datasets(self, split: Split) -> Samples:
        known = self.__dict__.setdefault("_known", {})
        if split not in known:
            known[split] = self.dataset(split)
        return known[split]

    def train_dataloader(self) -> DataLoader:
        return self._loader("train")

    def val_dataloader(self) -> DataLoader:
        return self._loader("val")

    def test_dataloader(self) -> DataLoader:
        return self._loader("test")


class MosaicScenes(Samples):
    """Scenes of the procedural default with a class for every pixel, as tensors ready for the model."""

    def __init__(self, mosaic: Mosaic, split: Split, count: int) -> None:
        drawn = mosaic.scenes(split, count)
        self.images, self.domains = torch.from_numpy(drawn.images), torch.from_numpy(drawn.domains)
        patches = torch.from_numpy(drawn.labels)
        self.labels = patches.repeat_interleave(mosaic.patch, 1).repeat_interleave(mosaic.patch, 2)
        self.split = split

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, number: int) -> dict[str, Any]:
        name = f"{self.split} scene {number}"
        return {"image": self.images[number], "label": self.labels[number], "name": name}


class SegmentationDataModule(Batches):
    """Images with class maps.

    Args:
        root: ADE20K, a folder of image and mask pairs, or COCO; null: the procedural default.
        layout: ``auto`` recognises it.
        classes: of a folder's class list, the names that are kept.
        background: COCO: pixels of no instance are ignored, or a class.
        annotations: COCO: two json files, of training and validation; empty: the official layout.
        images: COCO: their folders.
        crop: side of a training image.
        long: limit of the longer side, in training before the random ratio.
        short: of the shorter side.
        ratios: between which the size is drawn in training.
        batch_size: of training.
        eval_batch_size: 1 where images differ in size.
        num_workers: processes that load.
        seed: of the order of training, and of the procedural default; also num_train, num_val and mosaic.
        num_train: scenes.
        num_val: scenes of validation, and of test.
        mosaic: other arguments of the procedural default.
    """

    def __init__(
        self,
        root: str | None = None,
        layout: Layout = "auto",
        classes: Sequence[str] | None = None,
        background: Background = "ignore",
        annotations: Sequence[str] = (),
        images: Sequence[str] = (),
        crop: int = 512,
        long: int = 2048,
        short: int = 512,
        ratios: tuple[float, float] = (0.5, 2.0),
        batch_size: int = 16,
        eval_batch_size: int = 1,
        num_workers: int = 0,
        seed: int = 0,
        num_train: int = 512,
        num_val: int = 256,
        mosaic: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(batch_size, eval_batch_size, num_workers, seed, collate_segmentation)
        self.root, self.classes = None if root is None else Path(root), classes
        self.background: Background = background
        self.annotations, self.images = tuple(annotations), tuple(images)
        self.mosaic = Mosaic(**{"seed": seed, **(mosaic or {})})
        self.counts = {"train": num_train, "val": num_val, "test": num_val}
        self.augmentation = SegmentationAugmentation(crop, long, short, (ratios[0], ratios[1]))
        self.evaluation = SegmentationEvaluation(long, short)
        self.layout = layout if self.root is None else self._recognised(self.root, layout)

    def _recognised(self, root: Path, layout: Layout) -> Layout:
        if not root.is_dir():
            raise UserError(f"data.root {root} not found: a folder of data, or null for the procedural default")
        if layout != "auto":
            return layout
        if ade20k.find(root):
            return "ade20k"
        if self.annotations or coco.find(root, "train") or coco.find(root, "val"):
            return "coco"
        if any((root / name).is_file() for name in ("classes.txt", "classes.json")):
            return "folder"
        raise UserError(
            f"{root} has none of the layouts: ADE20K (annotations/validation), COCO (annotations/instances_*2017.json), "
            "or image and mask folders with classes.txt; see rmoe/README.md"
        )

    @cached_property
    def class_names(self) -> list[str]:
        """In the order of the model's classes."""
        if self.root is None:
            return [f"class {number}" for number in range(self.mosaic.classes)]
        if self.layout == "ade20k":
            return ade20k.class_names(self.root)
        if self.layout == "folder":
            return mask_folder(self.root, "train", self.classes)[1]
        return self._coco(self.root, "val").names

    @property
    def num_classes(self) -> int:
        """How many."""
        return len(self.class_names)

    def raw(self, split: Split) -> Labelled:
        """Images with their class maps as they are on disk."""
        if self.root is None:
            raise UserError("the procedural default is not on disk: give data.root")
        if self.layout == "ade20k":
            return ade20k.ade20k(self.root, split)
        if self.layout == "folder":
            return mask_folder(self.root, split, self.classes)[0]
        return self._coco(self.root, split)

    def _coco(self, root: Path, split: Split) -> coco.CocoSegmentation:
        path, images = coco.locate(root, split, self.annotations, self.images)
        return coco.CocoSegmentation(coco.read_annotations(path), images, self.background)

    def dataset(self, split: Split) -> Samples:
        """See ``Batches``: dictionaries of ``image``, ``label``, ``name``, in training also ``padding``."""
        if self.root is None:
            return MosaicScenes(self.mosaic, split, self.counts[split])
        training = split == "train"
        return Prepared(self.raw(split), self.augmentation if training else self.evaluation, skip=training)


class MosaicUpstream(Samples):
    """Images of one texture of the procedural default, with their domain and class."""

    def __init__(self, mosaic: Mosaic, split: Split, count: int) -> None:
        images, domains, classes = map(torch.from_numpy, mosaic.upstream(split, count))
        self.images, self.targets = images, torch.stack([domains, classes], 1)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, number: int) -> dict[str, Any]:
        return {"image": self.images[number], "target": self.targets[number]}


class UpstreamDataModule(Batches):
    """Images with a class, for pre-training and the intermediate stage.

    Args:
        root: {train,val}/class/image.jpg; null: the upstream images of the procedural default, with two things to tell.
        image_size: side of the images.
        randaugment: in training.
        batch_size: of training.
        eval_batch_size: of validation.
        num_workers: processes that load.
        seed: of the order of training, and of the procedural default; also num_train, num_val and mosaic.
        num_train: images.
        num_val: images.
        mosaic: other arguments of the procedural default.
    """

    def __init__(
        self,
        root: str | None = None,
        image_size: int = 224,
        randaugment: bool = False,
        batch_size: int = 32,
        eval_batch_size: int = 64,
        num_workers: int = 0,
        seed: int = 0,
        num_train: int = 4096,
        num_val: int = 256,
        mosaic: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(batch_size, eval_batch_size, num_workers, seed, collate_segmentation)
        self.root, self.image_size, self.randaugment = root, image_size, randaugment
        self.mosaic = Mosaic(**{"seed": seed, **(mosaic or {})})
        self.counts = {"train": num_train, "val": num_val, "test": num_val}
        if root is not None and not Path(root).is_dir():
            raise UserError(f"data.root {root} not found: a folder of data, or null for the procedural default")

    @cached_property
    def num_classes(self) -> tuple[int, ...]:
        """Of each thing to tell."""
        if self.root is None:
            return (self.mosaic.domains, self.mosaic.classes)
        return (len(ImageFolder(self.root, "train").names),)

    def dataset(self, split: Split) -> Samples:
        """See ``Batches``: dictionaries of ``image`` and ``target`` (things to tell,)."""
        if self.root is None:
            return MosaicUpstream(self.mosaic, split, self.counts[split])
        training = split == "train"
        transform = ClassifierTransform(self.image_size, training, self.randaugment)
        return Prepared(ImageFolder(self.root, split), transform, skip=training)
