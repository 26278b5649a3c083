"""Which detections of a frame the tracker uses, and what is wrong with arrays that do not fit."""

from __future__ import annotations

import logging
from typing import NamedTuple

import numpy as np

from mot_occlusion.detections import Detections
from shared_utils import UserError

#: Beyond it a score is a percentage; some detectors' margins, which are no shares, end at 5 or so.
LARGEST_SCORE = 10.0

_ALL_BELOW = 100
"""After so many detections of which none was above the threshold the log says so, once."""


class Admitted(NamedTuple):
    """What is used of a frame.

    boxes (n, 4) float64 x1, y1, x2, y2; scores (n,); unit embeddings (n, D) or None; centres (m, 2) or None; classes (n,)
    or None; rows (n,): which of the given detections they are.
    """

    boxes: np.ndarray
    scores: np.ndarray
    embeddings: np.ndarray | None
    centres: np.ndarray | None
    classes: np.ndarray | None
    rows: np.ndarray


def admit(
    detections: Detections,
    place: str,
    *,
    threshold: float,
    occlusion_threshold: float,
    last_column: int,
    last_row: int,
    reid: bool,
    occlusion: bool,
    dimension: int,
) -> Admitted:
    """The detections above the threshold that begin inside of the image.

    Args:
        detections: of one frame.
        place: what errors call the frame.
        threshold: detections must score above it.
        occlusion_threshold: occlusion centres must score at least that.
        last_column: boxes that begin right of it are left out.
        last_row: boxes that begin below it are left out.
        reid: whether embeddings are used.
        occlusion: whether occlusion centres are used.
        dimension: of the embeddings of earlier frames, 0 where there were none.

    Raises:
        UserError: an array of another length or size, or a value that is not a number.
    """
    boxes = _rows(detections.boxes, 4, f"{place}: boxes", "x1, y1, x2, y2")
    scores = np.asarray(_given(detections.scores, f"{place}: scores"), dtype=np.float32).reshape(-1)
    if len(scores) != len(boxes):
        raise UserError(f"{place}: {len(boxes)} boxes but {len(scores)} scores: give one score a box")
    if not (np.isfinite(boxes).all() and np.isfinite(scores).all()):
        bad = int(np.flatnonzero(~(np.isfinite(boxes).all(1) & np.isfinite(scores)))[0])
        raise UserError(f"{place}: box {bad} is not a number ({boxes[bad]}, score {scores[bad]}): drop it")
    if len(scores) and scores.max() > LARGEST_SCORE:
        raise UserError(f"{place}: a score of {scores.max():g}: scores are shares in 0 to 1: divide percents by 100")
    if len(boxes) and min(last_column, last_row) > 4 and np.abs(boxes).max() <= 2:
        raise UserError(
            f"{place}: no box coordinate is above 2: boxes are x1, y1, x2, y2 in pixels; multiply shares of the image by "
            "its width and height"
        )
    keep = scores > threshold
    keep &= (boxes[:, 0] <= last_column - 1) & (boxes[:, 1] <= last_row - 1)
    keep &= (boxes[:, 2] > 0) & (boxes[:, 3] > 0)
    # Of a box without height there is no aspect ratio.
    keep &= (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    embeddings = centres = classes = None
    if reid and detections.embeddings is not None:
        embeddings = normalised(_check_embeddings(detections.embeddings, len(boxes), dimension, place)[keep])
    if occlusion and detections.centres is not None:
        centres = _rows(detections.centres, 2, f"{place}: occlusion centres", "x, y")
        if detections.centre_scores is not None:
            sure = np.asarray(detections.centre_scores).reshape(-1)
            if len(sure) != len(centres):
                raise UserError(f"{place}: {len(centres)} centres but {len(sure)} scores of centres: give one a centre")
            centres = centres[sure >= occlusion_threshold]
        if not np.isfinite(centres).all():
            raise UserError(f"{place}: an occlusion centre is not a number: drop it")
    if detections.classes is not None:
        classes = np.asarray(detections.classes).reshape(-1)
        if len(classes) != len(boxes):
            raise UserError(f"{place}: {len(boxes)} boxes but {len(classes)} classes: give one class a box")
        if len(classes) and not (np.isfinite(classes) & (classes == np.floor(classes)) & (classes >= 0)).all():
            raise UserError(f"{place}: classes are whole numbers from 0")
        classes = classes.astype(np.int64)[keep]
    boxes = boxes[keep]
    # Widths are differences in float32, as published; from there on everything is float64.
    size = (boxes[:, 2:] - boxes[:, :2]).astype(np.float64)
    start = boxes[:, :2].astype(np.float64)
    return Admitted(
        np.concatenate([start, start + size], axis=1), scores[keep], embeddings, centres, classes, np.flatnonzero(keep)
    )


def _given(values: np.ndarray | None, what: str) -> np.ndarray:
    if values is None:
        raise UserError(f"{what} are None: give an array, of no rows where nothing was detected")
    return values


def _rows(values: np.ndarray | None, width: int, what: str, meaning: str) -> np.ndarray:
    """(N, width) float32; an empty array of any shape is no rows."""
    array = np.asarray(_given(values, what), dtype=np.float32)
    if array.size == 0:
        return array.reshape(0, width)
    if array.ndim == 1 and len(array) == width:
        array = array[None]
    if array.ndim != 2 or array.shape[1] != width:
        raise UserError(f"{what} of shape {array.shape}: give (N, {width}), {meaning}")
    return array


def _check_embeddings(given: np.ndarray, count: int, dimension: int, place: str) -> np.ndarray:
    embeddings = np.asarray(given, dtype=np.float32)
    if embeddings.ndim != 2 or len(embeddings) != count:
        raise UserError(f"{place}: {count} boxes but embeddings of shape {embeddings.shape}: give one a box")
    if dimension and dimension != embeddings.shape[1]:
        raise UserError(
            f"{place}: embeddings of {embeddings.shape[1]} values after ones of {dimension}: keep to one size"
        )
    if not np.isfinite(embeddings).all():
        raise UserError(f"{place}: an embedding is not a number: check the detector")
    return embeddings


def normalised(features: np.ndarray) -> np.ndarray:
    """Unit vectors (..., D)."""
    return features / np.maximum(np.linalg.norm(features, axis=-1, keepdims=True), 1e-12)


def count_below(below: int, found: Admitted, count: int, conf_threshold: float) -> int:
    """How many detections there were before one scored above the threshold, -1 from then on; many are reported once.

    Args:
        below: the number so far.
        found: what was admitted of a frame.
        count: detections of the frame.
        conf_threshold: of the tracker.
    """
    if below < 0 or (len(found.scores) and found.scores.max() > conf_threshold):
        return -1
    if below + count < _ALL_BELOW:
        return below + count
    text = "none of the first %d detections scores above %g, so nothing is tracked: lower conf_threshold"
    logging.getLogger(__name__).warning(text, below + count, conf_threshold)
    return -1
