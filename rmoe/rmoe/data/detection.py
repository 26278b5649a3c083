"""Batches for detection: COCO as it is distributed, any json in its format, or the procedural instances written as one."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
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
        seed: of the order of training, and of the procedural default; also num_train, num_val and mosaic.
        num_train: images.
        num_val: images of validation, and of test.
        mosaic: other arguments of the procedural default: ``instance_size``, ``objects``, ...
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
        mosaic: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(batch_size, eval_batch_size, num_workers, seed, collate_detection)
        if root is not None and not Path(root).is_dir():
            raise UserError(f"data.root {root} not found: a folder of data, or null for the procedural default")
        self.root, self.annotations, self.images = root, tuple(annotations), tuple(images)
        self.crowd_as_objects = crowd_as_objects
        self.augmentation = DetectionAugmentation(policy, short_sides, long)
        self.mosaic = Mosaic(**{"seed": seed, **(mosaic or {})})
        self.counts: dict[Split, int] = {"train": num_train, "val": num_val, "test": num_val}
        # The folders are kept as long as this object, and removed with it.
        self._drawn: list[tempfile.TemporaryDirectory] = []
        self._known_annotations: dict[Split, tuple[coco.Annotations, Path]] = {}
        self._known_truth: dict[Split, dict[str, Any]] = {}

    def _annotations(self, split: Split) -> tuple[coco.Annotations, Path]:
        if split not in self._known_annotations:
            if self.root is None:
                self._drawn.append(tempfile.TemporaryDirectory(prefix="rmoe_instances_"))
                root = mosaic_coco.write(self.mosaic, self._drawn[-1].name, {split: self.counts[split]})
                path, images = mosaic_coco.place(root, split)
            else:
                path, images = coco.locate(self.root, split, self.annotations, self.images)
            self._known_annotations[split] = coco.read_annotations(path), images
        return self._known_annotations[split]

    def categories(self, split: Split = "val") -> coco.Annotations:
        """Of a split's file: names and ids in the order of the labels."""
        return self._annotations(split)[0]

    def truth(self, split: Split) -> dict[str, Any]:
        """The content of a split's file, for the evaluation."""
        if split not in self._known_truth:
            self._known_truth[split] = files.read_json(self.categories(split).path, "COCO json")
        return self._known_truth[split]

    @property
    def class_names(self) -> list[str]:
        """In the order of the labels."""
        if self.root is None:
            return [category["name"] for category in mosaic_coco.categories(self.mosaic)]
        return self.categories().names

    @property
    def num_classes(self) -> int:
        """Without the background."""
        if self.root is None:
            return self.mosaic.classes
        return len(self.categories().category_ids)

    def dataset(self, split: Split) -> Prepared:
        """See ``Batches``: ``DetectionSample`` with float images of 0 to 1."""
        training = split == "train"
        raw = coco.CocoDetection(*self._annotations(split), training, self.crowd_as_objects)
        return Prepared(raw, self.augmentation if training else DetectionAugmentation("none"), skip=training)
