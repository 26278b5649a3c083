"""Box and mask AP as COCO defines them: by faster-coco-eval, or pycocotools where that is not installed.

Detections are kept as run-length codes, an image at a time, so that a set's masks never stand in memory. Ground truth is
a COCO json in its own ids; crowd regions and areas count as the annotations say.
"""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Literal

import numpy as np
from torch import Tensor

from shared_utils import UserError
from shared_utils.distributed import gather_objects

Kind = Literal["bbox", "segm"]
Backend = Literal["auto", "faster_coco_eval", "pycocotools"]
_NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")


@dataclass(frozen=True)
class DetectionScores:
    """COCO's numbers of one kind of overlap; per cent, nan where there is nothing to count.

    Attributes:
        summary: AP, AP50, AP75, APs, APm, APl and the recalls AR1 ... ARl.
        by_class: AP by original category id, in the order of the ids.
    """

    summary: dict[str, float]
    by_class: dict[int, float]

    def rows(self, names: Mapping[int, str]) -> list[dict[str, Any]]:
        """A row a class: name and AP."""
        return [{"class": names[number], "AP": value} for number, value in self.by_class.items()]


def _tools(backend: Backend) -> tuple[type, Callable[..., Any], ModuleType]:
    """The COCO class, what makes an evaluation, and the mask module."""
    if backend in ("auto", "faster_coco_eval"):
        try:
            from faster_coco_eval import COCO, COCOeval_faster
            from faster_coco_eval.core import mask
        except ImportError:
            if backend != "auto":
                raise UserError("faster_coco_eval is not installed: `uv pip install faster-coco-eval`") from None
        else:
            logging.getLogger("faster_coco_eval").setLevel(logging.ERROR)
            return COCO, COCOeval_faster, mask
    try:
        from pycocotools import mask
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError:
        raise UserError(
            "box and mask AP need faster-coco-eval or pycocotools: `uv pip install faster-coco-eval`"
        ) from None
    return COCO, COCOeval, mask


def category_ids(annotations: Mapping[str, Any]) -> list[int]:
    """Original ids in the order of the labels: label i (from 1) is the i-th smallest id of ``categories``."""
    if not annotations.get("categories"):
        raise UserError("the annotations have no `categories`: a COCO json lists {id, name} of each class there")
    return sorted(int(category["id"]) for category in annotations["categories"])


def encode_mask(mask: np.ndarray | Tensor, backend: Backend = "auto") -> dict[str, Any]:
    """(H, W) mask -> COCO's run-length code, plain enough for json: {size, counts}."""
    mask = np.asarray(mask.cpu() if isinstance(mask, Tensor) else mask)
    code = _tools(backend)[2].encode(np.asfortranarray(mask.astype(np.uint8)))
    counts = code["counts"]
    return {
        "size": [int(side) for side in code["size"]],
        "counts": counts.decode() if isinstance(counts, bytes) else counts,
    }


def to_results(image_id: int, detection: Mapping[str, Tensor], ids: Sequence[int]) -> list[dict[str, Any]]:
    """One image's detections in COCO's results format, plain values.

    Args:
        image_id: original.
        detection: what a ``Detector`` returns in evaluation: boxes, labels, scores and, where there are, masks.
        ids: see ``category_ids``.

    Returns:
        For each detection image_id, category_id, bbox (xywh), score and segmentation (run-length code).
    """
    boxes = detection["boxes"].detach().cpu().double()
    boxes[:, 2:] -= boxes[:, :2]
    labels, scores = detection["labels"].tolist(), detection["scores"].tolist()
    results = [
        {"image_id": image_id, "category_id": int(ids[label - 1]), "bbox": box, "score": score}
        for box, label, score in zip(boxes.tolist(), labels, scores, strict=True)
    ]
    if "masks" in detection:
        for result, mask in zip(results, detection["masks"], strict=True):
            result["segmentation"] = encode_mask(mask)
    return results


def evaluate(
    annotations: Mapping[str, Any],
    results: Sequence[Mapping[str, Any]],
    kinds: Sequence[Kind] = ("bbox", "segm"),
    image_ids: Sequence[int] | None = None,
    backend: Backend = "auto",
) -> dict[str, DetectionScores]:
    """COCO's average precisions of a set.

    Args:
        annotations: a COCO json's content: images, annotations (with ``area`` and ``iscrowd``), categories.
        results: see ``to_results``; under torchrun each rank gives those of its share of the images.
        kinds: of overlap: of boxes, of masks.
        image_ids: that were looked at (by this rank); None: all of the annotations.
        backend: ``auto`` takes faster_coco_eval where it is installed, else pycocotools.

    Returns:
        By kind.

    Raises:
        UserError: a result is of an image or category that the annotations have not, or no back end is installed.
    """
    results = [result for of_rank in gather_objects(list(results)) for result in of_rank]
    if image_ids is not None:
        image_ids = sorted({number for of_rank in gather_objects(list(image_ids)) for number in of_rank})
    ids = category_ids(annotations)
    known = {image["id"] for image in annotations["images"]}
    for result in results:
        if result["image_id"] not in known or result["category_id"] not in ids:
            raise UserError(
                f"a detection is of image {result['image_id']} and category {result['category_id']}, which the "
                "annotations do not have: are they those of this data set?"
            )
    truth = _complete(annotations)
    return {kind: _evaluate(truth, results, kind, image_ids, ids, backend) for kind in kinds}


def _complete(annotations: Mapping[str, Any]) -> dict[str, Any]:
    """A copy whose annotations have ``id``, ``iscrowd`` and ``area`` (where left out: by position, no, the box's)."""
    made = []
    for number, annotation in enumerate(annotations.get("annotations", ()), start=1):
        width, height = annotation["bbox"][2:]
        made.append({"id": number, "iscrowd": 0, "area": width * height, **annotation})
    return {**annotations, "annotations": made, "info": annotations.get("info", {})}


def _evaluate(
    truth: dict[str, Any],
    results: Sequence[Mapping[str, Any]],
    kind: Kind,
    image_ids: Sequence[int] | None,
    ids: Sequence[int],
    backend: Backend,
) -> DetectionScores:
    if not results:
        # Neither back end takes an empty list: nothing was found, so where there is something to find, all is 0.
        objects = {a["category_id"] for a in truth["annotations"] if not a["iscrowd"]}
        by_class = {number: 0.0 if number in objects else float("nan") for number in ids}
        return DetectionScores(dict.fromkeys(_NAMES, 0.0 if objects else float("nan")), by_class)
    coco_class, evaluation, _ = _tools(backend)
    with contextlib.redirect_stdout(io.StringIO()):
        coco = coco_class()
        coco.dataset = {**truth, "annotations": [dict(annotation) for annotation in truth["annotations"]]}
        coco.createIndex()
        found = coco.loadRes([_of_kind(result, kind) for result in results])
        run = evaluation(coco, found, kind)
        if image_ids is not None:
            run.params.imgIds = list(image_ids)
        run.evaluate()
        run.accumulate()
        run.summarize()
    precision = run.eval["precision"][:, :, :, 0, -1]
    by_class = {number: _percent(precision[:, :, k]) for k, number in enumerate(run.params.catIds)}
    values = [float("nan") if value < 0 else 100 * float(value) for value in run.stats[: len(_NAMES)]]
    return DetectionScores(dict(zip(_NAMES, values, strict=True)), {int(k): v for k, v in by_class.items()})


def _of_kind(result: Mapping[str, Any], kind: Kind) -> dict[str, Any]:
    # COCO's loader takes a result's area (small, medium, large) from its box if it has one, also for masks.
    left_out = "segmentation" if kind == "bbox" else "bbox"
    return {name: value for name, value in result.items() if name != left_out}


def _percent(values: np.ndarray) -> float:
    values = np.asarray(values)
    values = values[values > -1]
    return 100 * float(values.mean()) if values.size else float("nan")
