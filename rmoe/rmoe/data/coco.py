"""COCO: annotations of any json in its format, boxes and masks of an image, and class maps painted from instances."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from rmoe.data.files import IGNORE, LabelledImage, read_image
from shared_utils import UserError, files

log = logging.getLogger(__name__)
_YEARS = {"train": "train2017", "val": "val2017", "test": "val2017"}
WHERE = "get it from cocodataset.org, or name your own files with data.annotations and data.images"


class DetectionSample(NamedTuple):
    """An image and its objects.

    ``image``: (3, H, W) uint8 RGB. ``target``: ``boxes`` (n, 4) xyxy pixels, ``labels`` (n,) from 1, ``masks``
    (n, H, W) uint8; ``iscrowd`` (n,), ``area`` (n,), ``image_id``. ``name``: for messages.
    """

    image: Tensor
    target: dict[str, Tensor]
    name: str


@dataclass(frozen=True)
class Annotations:
    """A json file in COCO's format.

    Attributes:
        path: the file.
        images: their entries.
        of_image: annotations by image id; boxes without area are left out.
        category_ids: sorted; the label of category_ids[i] is i + 1 in detection, i in segmentation.
        names: of the categories, in that order.
        without_area: how many annotations were left out.
    """

    path: Path
    images: list[dict[str, Any]]
    of_image: dict[int, list[dict[str, Any]]]
    category_ids: list[int]
    names: list[str]
    without_area: int

    @property
    def labels(self) -> dict[int, int]:
        """Category id -> place in ``category_ids``."""
        return {number: place for place, number in enumerate(self.category_ids)}


def _box(annotation: Mapping[str, Any], width: int, height: int) -> tuple[float, float, float, float] | None:
    """xyxy within the image; None where nothing is left of it."""
    x, y, w, h = annotation["bbox"]
    x1, y1, x2, y2 = max(x, 0), max(y, 0), min(x + w, width), min(y + h, height)
    return (x1, y1, x2, y2) if x2 > x1 and y2 > y1 else None


def read_annotations(path: str | Path) -> Annotations:
    """Read and check a json file; annotations whose box has no area within its image are left out, counted and logged.

    Raises:
        UserError: it is not in COCO's format: the key that is missing, or the annotation that does not fit, is named.
    """
    path = Path(path)
    content = files.read_json(path, "COCO json")
    for key in ("images", "annotations", "categories"):
        if not isinstance(content, dict) or not isinstance(content.get(key), list):
            raise UserError(f"{path} has no list {key!r}: it is not a COCO json of instances")
    images = {image["id"]: image for image in content["images"]}
    categories = sorted((category["id"], str(category["name"])) for category in content["categories"])
    known, of_image, without_area = {number for number, _ in categories}, {}, 0
    if not categories:
        raise UserError(f"{path} has no category: 'categories' is empty")
    for annotation in content["annotations"]:
        number = annotation.get("id")
        missing = [key for key in ("image_id", "category_id", "bbox") if key not in annotation]
        if missing:
            raise UserError(f"{path}: annotation {number} has no {missing[0]}")
        if annotation["category_id"] not in known:
            raise UserError(
                f"{path}: annotation {number} has the category {annotation['category_id']}, which is not listed"
            )
        image = images.get(annotation["image_id"])
        if image is None:
            raise UserError(
                f"{path}: annotation {number} is of the image {annotation['image_id']}, which is not listed"
            )
        if _box(annotation, image["width"], image["height"]) is None:
            without_area += 1
            continue
        of_image.setdefault(annotation["image_id"], []).append(annotation)
    if without_area:
        log.warning("%s: %d annotations whose box has no area within its image are left out", path, without_area)
    ids, names = [number for number, _ in categories], [name for _, name in categories]
    return Annotations(path, list(images.values()), of_image, ids, names, without_area)


def mask_api() -> Any:
    """COCO's mask functions, of faster_coco_eval or pycocotools."""
    try:
        from faster_coco_eval.core import mask
    except ImportError:
        try:
            from pycocotools import mask
        except ImportError:
            raise UserError("COCO masks need faster_coco_eval or pycocotools: pip install faster_coco_eval") from None
    return mask


def decode(segmentation: Any, height: int, width: int, source: str = "an annotation") -> np.ndarray:
    """A mask (H, W) uint8 of polygons, of an RLE whose counts are a list, or of a compressed one.

    Raises:
        UserError: it is none of these.
    """
    api = mask_api()
    try:
        if isinstance(segmentation, Mapping):
            counts = segmentation["counts"]
            compressed = (
                api.frPyObjects(segmentation, height, width) if isinstance(counts, list) else dict(segmentation)
            )
            if isinstance(compressed["counts"], str):
                compressed["counts"] = compressed["counts"].encode()
            mask = api.decode(compressed)
        else:
            polygons = [polygon for polygon in segmentation if len(polygon) >= 6]
            if not polygons:
                return np.zeros((height, width), np.uint8)
            mask = api.decode(api.merge(api.frPyObjects(polygons, height, width)))
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise UserError(f"{source}: its segmentation is neither polygons nor an RLE ({error})") from None
    if mask.shape != (height, width):
        raise UserError(f"{source}: its mask is {mask.shape[1]}x{mask.shape[0]}, its image {width}x{height}")
    return np.ascontiguousarray(mask, np.uint8)


class CocoDetection(Dataset):
    """Images with their objects.

    Args:
        annotations: of ``read_annotations``.
        images: the folder of the images.
        training: crowds do not train, and images without objects are left out.
        crowd_as_objects: a crowd is an object like any other.

    Raises:
        UserError: nothing is left to train on, or every annotation is a crowd.
    """

    def __init__(
        self, annotations: Annotations, images: str | Path, training: bool = False, crowd_as_objects: bool = False
    ) -> None:
        self.annotations, self.folder = annotations, Path(images)
        self.training, self.crowd_as_objects = training, crowd_as_objects
        if not self.folder.is_dir():
            raise UserError(f"{self.folder} not found: the folder of the images of {annotations.path}")
        count = sum(len(found) for found in annotations.of_image.values())
        crowds = sum(bool(each.get("iscrowd")) for found in annotations.of_image.values() for each in found)
        if training and crowds == count and count and not crowd_as_objects:
            raise UserError(
                f"{annotations.path}: {crowds} of {count} annotations are crowd, none can train; "
                "--crowd-as-objects (data.crowd_as_objects: true) treats them as objects"
            )
        kept = annotations.images
        if training:
            kept = [image for image in kept if self._objects(image)]
        if not kept:
            raise UserError(f"{annotations.path} has no image with an object")
        self.entries = sorted(kept, key=lambda image: image["id"])

    def _objects(self, image: Mapping[str, Any]) -> list[dict[str, Any]]:
        found = self.annotations.of_image.get(image["id"], [])
        if self.training and not self.crowd_as_objects:
            return [each for each in found if not each.get("iscrowd")]
        return found

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, number: int) -> DetectionSample:
        entry = self.entries[number]
        image = self._image(entry)
        height, width = image.shape[1:]
        found, labels = self._objects(entry), self.annotations.labels
        masks = [self._mask(each, height, width) for each in found]
        boxes = [_box(each, width, height) for each in found]
        crowd = [int(bool(each.get("iscrowd")) and not self.crowd_as_objects) for each in found]
        target = {
            "boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
            "labels": torch.tensor([labels[each["category_id"]] + 1 for each in found], dtype=torch.int64),
            "masks": torch.from_numpy(np.stack(masks)) if masks else torch.zeros((0, height, width), dtype=torch.uint8),
            "iscrowd": torch.tensor(crowd, dtype=torch.int64),
            "area": torch.tensor(
                [each.get("area", float(m.sum())) for each, m in zip(found, masks, strict=True)]
            ).float(),
            "image_id": torch.tensor(entry["id"]),
        }
        return DetectionSample(image, target, entry["file_name"])

    def _image(self, entry: Mapping[str, Any]) -> Tensor:
        path = self.folder / entry["file_name"]
        image = read_image(path)
        if tuple(image.shape[1:]) != (entry["height"], entry["width"]):
            size = f"{image.shape[2]}x{image.shape[1]}"
            raise UserError(f"{path} is {size}, {self.annotations.path} lists {entry['width']}x{entry['height']}")
        return image

    def _mask(self, annotation: Mapping[str, Any], height: int, width: int) -> np.ndarray:
        source = f"{self.annotations.path}: annotation {annotation.get('id')}"
        if not annotation.get("segmentation"):
            raise UserError(f"{source} has no segmentation, which a mask is made of")
        return decode(annotation["segmentation"], height, width, source)


class CocoSegmentation(Dataset):
    """Class maps painted from instances, larger ones first; crowds are painted too.

    Args:
        annotations: of ``read_annotations``.
        images: the folder of the images.
        background: pixels of no instance are ignored (``ignore``), or a class of their own, the last (``class``).
    """

    def __init__(
        self, annotations: Annotations, images: str | Path, background: Literal["ignore", "class"] = "ignore"
    ) -> None:
        self.detection, self.background = CocoDetection(annotations, images), background
        self.names = [*annotations.names, *(["background"] if background == "class" else [])]

    def __len__(self) -> int:
        return len(self.detection)

    def __getitem__(self, number: int) -> LabelledImage:
        sample = self.detection[number]
        empty = IGNORE if self.background == "ignore" else len(self.names) - 1
        label = torch.full(sample.image.shape[1:], empty, dtype=torch.int64)
        masks = sample.target["masks"].bool()
        for row in masks.sum((1, 2)).argsort(descending=True, stable=True).tolist():
            label[masks[row]] = int(sample.target["labels"][row]) - 1
        return LabelledImage(sample.image, label, sample.name)


def find(root: str | Path, split: str) -> tuple[Path, Path] | None:
    """(json, folder of images) of a split, in the official layout or Roboflow's; None where neither is there."""
    root = Path(root)
    year = _YEARS[split]
    official = root / "annotations" / f"instances_{year}.json", root / year
    export = root / ("train" if split == "train" else "valid") / "_annotations.coco.json"
    return next((pair for pair in (official, (export, export.parent)) if pair[0].is_file()), None)


def locate(
    root: str | Path, split: str, annotations: Sequence[str] = (), images: Sequence[str] = ()
) -> tuple[Path, Path]:
    """(json, folder of images) of a split.

    Args:
        root: the data set.
        split: ``train``, ``val`` or ``test`` (validation).
        annotations: files of training and validation, relative to root; empty: the official layout.
        images: their folders, likewise.

    Raises:
        UserError: they are not there.
    """
    root = Path(root)
    if annotations:
        if len(annotations) != 2 or len(images) != 2:
            raise UserError(
                "data.annotations and data.images name two files and two folders each: training, validation"
            )
        place = int(split != "train")
        return root / annotations[place], root / images[place]
    found = find(root, split)
    if found is None:
        raise UserError(
            f"annotations/instances_{_YEARS[split]}.json not found in {root} (the layout of COCO 2017): {WHERE}"
        )
    return found
