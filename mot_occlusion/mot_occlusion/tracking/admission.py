"""Which detections of a frame the tracker uses, and what is wrong with arrays that do not fit."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mot_occlusion.detections import Detections
from shared_utils import UserError


class Admitted(NamedTuple):
    """What is used of a frame: boxes (n, 4) float64 x1, y1, x2, y2; scores (n,); unit embeddings (n, D); centres (m, 2)."""

    boxes: np.ndarray
    scores: np.ndarray
    embeddings: np.ndarray | None
    centres: np.ndarray | None


def admit(
    detections: Detections,
    place: str,
    *,
    conf_threshold: float,
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
        conf_threshold: detections must score above it.
        occlusion_threshold: occlusion centres must score at least that.
        last_column: boxes that begin right of it are left out.
        last_row: boxes that begin below it are left out.
        reid: whether embeddings are used.
        occlusion: whether occlusion centres are used.
        dimension: of the embeddings of earlier frames, 0 where there were none.

    Raises:
        UserError: an array of another length or size, or a value that is not a number.
    """
    boxes = np.asarray(detections.boxes, dtype=np.float32).reshape(-1, 4)
    scores = np.asarray(detections.scores, dtype=np.float32).reshape(-1)
    if len(scores) != len(boxes):
        raise UserError(f"{place}: {len(boxes)} boxes but {len(scores)} scores: give one score a box")
    if not (np.isfinite(boxes).all() and np.isfinite(scores).all()):
        bad = int(np.flatnonzero(~(np.isfinite(boxes).all(1) & np.isfinite(scores)))[0])
        raise UserError(f"{place}: box {bad} is not a number ({boxes[bad]}, score {scores[bad]}): drop it")
    keep = scores > conf_threshold
    keep &= (boxes[:, 0] <= last_column - 1) & (boxes[:, 1] <= last_row - 1)
    keep &= (boxes[:, 2] > 0) & (boxes[:, 3] > 0)
    # Of a box without height there is no aspect ratio.
    keep &= (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    embeddings = centres = None
    if reid and detections.embeddings is not None:
        embeddings = normalised(_check_embeddings(detections.embeddings, len(boxes), dimension, place)[keep])
    if occlusion and detections.centres is not None:
        centres = np.asarray(detections.centres, dtype=np.float32).reshape(-1, 2)
        if detections.centre_scores is not None:
            centres = centres[np.asarray(detections.centre_scores).reshape(-1) >= occlusion_threshold]
    boxes = boxes[keep]
    # Widths are differences in float32, as published; from there on everything is float64.
    size = (boxes[:, 2:] - boxes[:, :2]).astype(np.float64)
    start = boxes[:, :2].astype(np.float64)
    return Admitted(np.concatenate([start, start + size], axis=1), scores[keep], embeddings, centres)


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
