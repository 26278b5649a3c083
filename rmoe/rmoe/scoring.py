"""A model over a data set, in parts that are kept: mIoU, box and mask AP, accuracy, with tables and pictures."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from rmoe import panels
from rmoe.data.datamodule import (
    Background,
    Labelled,
    Layout,
    MosaicScenes,
    MosaicUpstream,
    SegmentationDataModule,
    UpstreamDataModule,
)
from rmoe.data.detection import DetectionDataModule
from rmoe.data.mosaic import Split
from rmoe.data.upstream import ImageFolder
from rmoe.evaluation import detection
from rmoe.evaluation.segmentation import MULTI_SCALE, ConfusionMatrix
from rmoe.moe import moe_layers
from rmoe.predictors import ImageSegmenter, Predictor
from shared_utils import UserError, distributed, files, logging
from shared_utils.checkpoint import weights_digest
from shared_utils.work import Work

CHUNK = 8
"""Images of a part: what a killed run does again at most."""
_PICTURES = 4


@dataclass(frozen=True)
class Options:
    """What is scored, and how.

    Args:
        data: a data set as for training; None: the procedural default that the model was trained on.
        split: ``val`` or ``test``; of the procedural default always the test draw.
        layout: see ``SegmentationDataModule``; also classes and background.
        classes: of a folder's class list, the names that are kept.
        background: of COCO as segmentation.
        annotations: of COCO, two files; also images.
        images: their folders.
        ms_flip: segmentation: six scales, each also mirrored, averaged.
        window: segmentation: side of sliding windows.
        limit: at most this many images.
    """

    data: str | None = None
    split: Literal["val", "test"] = "val"
    layout: Layout = "auto"
    classes: Sequence[str] | None = None
    background: Background = "ignore"
    annotations: Sequence[str] = ()
    images: Sequence[str] = ()
    ms_flip: bool = False
    window: int | None = None
    limit: int | None = None

    def job(self, given: Predictor) -> dict[str, Any]:
        """The description of the work."""
        own = {name: list(v) if isinstance(v, tuple) else v for name, v in self.__dict__.items()}
        return {**own, "model": weights_digest(given.model), "task": given.task}


@dataclass
class Scores:
    """``summary``: names and numbers; ``rows``: of the table by class, whose score is ``key``."""

    summary: dict[str, float]
    rows: list[dict[str, Any]]
    key: str
    title: str = field(default="")


class Scoring:
    """What the three tasks share. ``count``: images."""

    count: int

    def __init__(self, given: Predictor, options: Options) -> None:
        self.given, self.options = given, options

    def _mosaic(self) -> dict[str, Any]:
        return dict(self.given.description.mosaic or {})

    def limited(self, count: int) -> int:
        """The number of images that are scored."""
        return count if self.options.limit is None else min(count, self.options.limit)

    def image(self, number: int) -> Tensor:
        """(3, H, W) of 0..255."""
        raise NotImplementedError

    def part(self, numbers: Sequence[int]) -> dict[str, Any]:
        """What is kept of some images."""
        raise NotImplementedError

    def scores(self, parts: Sequence[Mapping[str, np.ndarray]]) -> Scores:
        """Of all parts."""
        raise NotImplementedError

    def picture(self, number: int) -> dict[str, np.ndarray]:
        """Panels of one image: title -> (H, W, 3) uint8."""
        raise NotImplementedError

    def _with_experts(self, number: int, made: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The panels, and those of the last two mixtures."""
        if self.given.has_experts:
            counts = {name: layer.num_experts for name, layer in moe_layers(self.given.model)}
            image = self.image(number)
            for name, experts in list(self.given.expert_maps(image).items())[-2:]:
                made[f"experts of {name.removeprefix('backbone.')}"] = panels.expert_image(image, experts, counts[name])
        return made


class SegmentationScoring(Scoring):
    """mIoU, aAcc, mAcc over all pixels of the set, at the labels' own resolution."""

    def __init__(self, given: Predictor, options: Options) -> None:
        super().__init__(given, options)
        count = options.limit or 256
        made = SegmentationDataModule(
            options.data,
            options.layout,
            options.classes,
            options.background,
            options.annotations,
            options.images,
            num_val=count,
            mosaic=self._mosaic(),
        )
        own, found = given.model.num_classes, made.num_classes
        if own != found:
            raise UserError(f"the model has {own} classes, the data {found}: they are not of one class list")
        self.names = made.class_names
        self.raw: MosaicScenes | Labelled = (
            MosaicScenes(made.mosaic, "test", count) if options.data is None else made.raw(options.split)
        )
        self.count = self.limited(len(self.raw))
        if not isinstance(given, ImageSegmenter):
            raise UserError(f"this model is for {given.task}, not segmentation")
        self.predict = given.configured(MULTI_SCALE if options.ms_flip else (1.0,), options.ms_flip, options.window)

    @property
    def domains(self) -> Tensor | None:
        """The domain of each image of the procedural default; None of other data."""
        return self.raw.domains if isinstance(self.raw, MosaicScenes) else None

    def item(self, number: int) -> tuple[Tensor, Tensor]:
        """An image (3, H, W) of 0..255 and its class map (H, W)."""
        if isinstance(self.raw, MosaicScenes):
            scene = self.raw[number]
            # In the units of pictures, which the predictor turns back; not rounded.
            return 128 + 40 * scene["image"], scene["label"]
        found = self.raw[number]
        return found.image, found.label

    def image(self, number: int) -> Tensor:
        return self.item(number)[0]

    def part(self, numbers: Sequence[int]) -> dict[str, Any]:
        matrix = ConfusionMatrix(len(self.names))
        for number in numbers:
            image, label = self.item(number)
            matrix.update(self.predict(image).cpu(), label)
        return {"counts": matrix.counts}

    def scores(self, parts: Sequence[Mapping[str, np.ndarray]]) -> Scores:
        matrix = ConfusionMatrix(len(self.names))
        # Every rank has read all parts, and the scores are summed over ranks: one of them gives them.
        if distributed.rank() == 0:
            matrix.counts = torch.from_numpy(np.sum([part["counts"] for part in parts], 0))
        found = matrix.scores()
        return Scores(found.summary(), found.rows(self.names), "IoU", "segmentation")

    def picture(self, number: int) -> dict[str, np.ndarray]:
        (image, label), count = self.item(number), len(self.names)
        made = {"image": panels.as_pixels(image), "truth": panels.class_image(label, count)}
        made["predicted"] = panels.class_image(self.predict(image).cpu(), count)
        return self._with_experts(number, made)


class DetectionScoring(Scoring):
    """COCO's box and mask AP, in original pixels and category ids."""

    def __init__(self, given: Predictor, options: Options) -> None:
        super().__init__(given, options)
        self.module = DetectionDataModule(
            options.data, options.annotations, options.images, num_val=options.limit or 128, mosaic=self._mosaic()
        )
        own, found = given.model.num_classes, self.module.num_classes
        if own != found:
            raise UserError(f"the model has {own} classes, the data {found}: they are not of one class list")
        split: Split = "test" if options.data is None else "val"
        self.raw, self.categories = self.module.dataset(split), self.module.categories(split)
        self.truth = self.module.truth(split)
        self.count = self.limited(len(self.raw))

    def image(self, number: int) -> Tensor:
        return 255 * self.raw[number].image

    def part(self, numbers: Sequence[int]) -> dict[str, Any]:
        results, seen = [], []
        for number in numbers:
            sample = self.raw[number]
            seen.append(int(sample.target["image_id"]))
            results += detection.to_results(seen[-1], self.given(255 * sample.image), self.categories.category_ids)
        return {"results": np.frombuffer(json.dumps(results).encode(), np.uint8), "seen": np.array(seen)}

    def scores(self, parts: Sequence[Mapping[str, np.ndarray]]) -> Scores:
        parts = parts if distributed.rank() == 0 else []  # as for segmentation
        results = [result for part in parts for result in json.loads(part["results"].tobytes())]
        seen = [int(number) for part in parts for number in part["seen"]]
        found = detection.evaluate(self.truth, results, image_ids=seen)
        kinds = {"bbox": "box", "segm": "mask"}
        summary = {f"{kinds[kind]} {name}": v for kind, each in found.items() for name, v in each.summary.items()}
        names = dict(zip(self.categories.category_ids, self.categories.names, strict=True))
        masks = found["segm"].by_class
        rows = [
            {"class": names[number], "box AP": value, "mask AP": masks[number]}
            for number, value in found["bbox"].by_class.items()
        ]
        return Scores(summary, rows, "mask AP", "detection")

    def picture(self, number: int) -> dict[str, np.ndarray]:
        sample, names = self.raw[number], self.categories.names
        image = 255 * sample.image
        found = self.given(image)
        kept = found["scores"] >= 0.3
        made = {"image": panels.as_pixels(image)}
        for title, labels, masks in (
            ("truth", sample.target["labels"], sample.target["masks"]),
            ("detected, score 0.3", found["labels"][kept], found["masks"][kept]),
        ):
            pixels, palette = panels.as_pixels(image), panels.class_palette(len(names))
            for label, mask in zip(labels.tolist(), masks.bool().numpy(), strict=True):
                pixels[mask] = panels.blended(pixels[mask], palette[label - 1], 0.7)
            made[title] = pixels
        return self._with_experts(number, made)


class ClassificationScoring(Scoring):
    """Top-1 accuracy of the last head."""

    def __init__(self, given: Predictor, options: Options) -> None:
        super().__init__(given, options)
        count = options.limit or 256
        made = UpstreamDataModule(options.data, num_val=count, mosaic=self._mosaic())
        self.raw: MosaicUpstream | ImageFolder
        if options.data is None:
            self.raw, self.names = MosaicUpstream(made.mosaic, "test", count), given.class_names
        else:
            self.raw = ImageFolder(options.data, options.split)
            self.names = self.raw.names
        if len(self.names) != len(given.class_names):
            raise UserError(f"the model has {len(given.class_names)} classes, the data {len(self.names)}")
        self.count = self.limited(len(self.raw))

    def _item(self, number: int) -> tuple[Tensor, int]:
        if isinstance(self.raw, MosaicUpstream):
            drawn = self.raw[number]
            return 128 + 40 * drawn["image"], int(drawn["target"][-1])
        return self.raw[number]

    def image(self, number: int) -> Tensor:
        return self._item(number)[0]

    def part(self, numbers: Sequence[int]) -> dict[str, Any]:
        items = [self._item(number) for number in numbers]
        found = [int(self.given(image)[-1].argmax()) for image, _ in items]
        return {"found": np.array(found), "truth": np.array([label for _, label in items])}

    def scores(self, parts: Sequence[Mapping[str, np.ndarray]]) -> Scores:
        found, truth = (np.concatenate([part[name] for part in parts]) for name in ("found", "truth"))
        right = [found[truth == number] == number for number in range(len(self.names))]
        rows = [
            {"class": name, "accuracy": 100 * float(own.mean()) if len(own) else float("nan"), "images": len(own)}
            for name, own in zip(self.names, right, strict=True)
        ]
        return Scores({"accuracy": 100 * float((found == truth).mean())}, rows, "accuracy", "classification")

    def picture(self, number: int) -> dict[str, np.ndarray]:
        return self._with_experts(number, {"image": panels.as_pixels(self.image(number))})


KINDS = {
    "segmentation": SegmentationScoring,
    "detection": DetectionScoring,
    "classification": ClassificationScoring,
}


def scoring(given: Predictor, options: Options) -> Scoring:
    """The scoring of a model's task.

    Raises:
        UserError: a backbone without a head; the data are not there, of another layout or another number of classes.
    """
    if given.task not in KINDS:
        raise UserError("this is a backbone without a head, which cannot be evaluated: train it with train.py first")
    if options.limit is not None and options.limit < 1:
        raise UserError(f"limit must be at least 1, got {options.limit}")
    return KINDS[given.task](given, options)


def score(made: Scoring, parts: Work) -> Scores:
    """Score every image, in parts shared over ranks; what is there already is not done again."""
    starts = {f"images_{start:07d}": start for start in range(0, made.count, CHUNK)}
    rows = {name: range(start, min(start + CHUNK, made.count)) for name, start in starts.items()}
    parts.finish(list(rows), lambda name: made.part(rows[name]), "evaluating")
    return made.scores([parts.read(name) for name in rows])


def write(made: Scoring, found: Scores, out: str | Path) -> list[Path]:
    """Write metrics.json, by_class.csv and .md, by_class.png, panels.png; their paths."""
    out = Path(out)
    plain = {name: None if value != value else value for name, value in found.summary.items()}
    files.write_json({"task": made.given.task, "images": made.count, **plain}, out / "metrics.json")
    written = [out / "metrics.json", *logging.write_table(found.rows, out / "by_class")]
    if any(np.isfinite(row[found.key]) for row in found.rows):
        panels.scores_by_class(out / "by_class.png", found.rows, found.key)
        written.append(out / "by_class.png")
    shown = np.linspace(0, made.count - 1, min(_PICTURES, made.count)).astype(int)
    panels.grid(out / "panels.png", [made.picture(int(number)) for number in shown])
    return [*written, out / "panels.png"]
