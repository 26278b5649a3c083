"""Batches for detection: COCO as it is distributed, any json in its format, or the procedural instances written as one."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from rmoe.data import coco, mosaic_coco
from rmoe.data.datamodule import Batches
from rmoe.data.mosaic import Mosaic, Split
from rmoe.data.readable import Prepared
from rmoe.data.transforms import DetectionAugmentation, Policy, collate_detection
from shared_utils import UserError, files


class DetectionDataModule(Batches):
    """Images with boxes and masks.

    Args:
        root: COCO 2017, or the folder to which ``annotations`` and ``images`` are relative; null: the instances of the
            procedural default, written as a COCO data set into a temporary folder and read from there.
        annotations: two json files, of training and validation; empty: the official layout.
        images: their folders.
        crowd_as_objects: crowds (``iscrowd: 1``) are objects like any other.
        policy: see ``DetectionAugmentation``; also short_sides and long.
        short_sides: shorter sides in training.
        long: limit of the longer side.
        batch_size: of training.
        eval_batch_size: of validation.
        num_workers: processes that load.
        seed: of the order of training, and of the procedural default; also num_train, num_val, image_size and mosaic.
        num_train: images.
        num_val: images.
        image_size: side of an image.
        mosaic: other arguments of the procedural default.
    """

    def __init__(
        self,
        root: str | None = None,
        annotations: Sequence[str] = (),
        images: Sequence[str] = (),
        crowd_as_objects: bool = False,
        policy: Policy = "published",
        short_sides: Sequence[int] = tuple(range(480, 801, 32)),
        long: int = 1333,
        batch_size: int = 16,
        eval_batch_size: int = 1,
        num_workers: int = 0,
        seed: int = 0,
        num_train: int = 512,
        num_val: int = 128,
        image_size: int = 96,
        mosaic: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(batch_size, eval_batch_size, num_workers, seed, collate_detection)
        if root is not None and not Path(root).is_dir():
            raise UserError(f"data.root {root} not found: a folder of data, or null for the procedural default")
        self.root, self.annotations, self.images = root, tuple(annotations), tuple(images)
        self.crowd_as_objects = crowd_as_objects
        self.augmentation = DetectionAugmentation(policy, short_sides, long)
        self.mosaic, self.image_size = Mosaic(**{"seed": seed, **(mosaic or {})}), image_size
        self.counts: dict[Split, int] = {"train": num_train, "val": num_val}

    @cached_property
    def _written(self) -> tempfile.TemporaryDirectory:
        # Kept as long as this object; removed with it.
        folder = tempfile.TemporaryDirectory(prefix="rmoe_instances_")
        mosaic_coco.write(self.mosaic, folder.name, self.counts, self.image_size)
        return folder

    def _annotations(self, split: Split) -> tuple[coco.Annotations, Path]:
        root = self._written.name if self.root is None else self.root
        path, images = coco.locate(root, split, self.annotations, self.images)
        return coco.read_annotations(path), images

    @cached_property
    def categories(self) -> coco.Annotations:
        """Of the validation file: names and ids in the order of the labels."""
        return self._annotations("val")[0]

    @cached_property
    def truth(self) -> dict[str, Any]:
        """The validation file's content, for the evaluation."""
        return files.read_json(self.categories.path, "COCO json")

    @property
    def class_names(self) -> list[str]:
        """In the order of the labels."""
        if self.root is None:
            return [category["name"] for category in mosaic_coco.categories(self.mosaic)]
        return self.categories.names

    @property
    def num_classes(self) -> int:
        """Without the background."""
        if self.root is None:
            return self.mosaic.classes
        return len(self.categories.category_ids)

    def dataset(self, split: Split) -> Prepared:
        """See ``Batches``: ``DetectionSample`` with float images of 0 to 1."""
        training = split == "train"
        raw = coco.CocoDetection(*self._annotations(split), training, self.crowd_as_objects)
        return Prepared(raw, self.augmentation if training else DetectionAugmentation("none"), skip=training)
