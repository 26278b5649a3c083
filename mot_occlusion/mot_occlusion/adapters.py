"""To and from what other libraries hold: ``supervision.Detections`` and the results of ultralytics. Neither is needed."""

from __future__ import annotations

from typing import Any

import numpy as np

from mot_occlusion.detections import Detections
from mot_occlusion.tracking import TRACKED, Tracks
from shared_utils import UserError


def from_supervision(found: Any, embeddings: np.ndarray | None = None) -> Detections:
    """A ``supervision.Detections`` as what ``Tracker.update`` takes; scores of 1 where it has none."""
    boxes = _rows(found, "xyxy", "supervision.Detections")
    scores = np.ones(len(boxes), np.float32) if found.confidence is None else np.asarray(found.confidence)
    return Detections(boxes, scores, embeddings, classes=None if found.class_id is None else np.asarray(found.class_id))


def to_supervision(tracks: Tracks, found: Any) -> Any:
    """The rows of ``found`` (the ``supervision.Detections`` that were tracked) that are tracks, with their ``tracker_id``.

    Their boxes, masks and data stay those of the detector. Recovered tracks, which no detection shows, are left out.
    """
    if tracks.detections is None:
        raise UserError("these tracks do not say which detections they are: give those that Tracker.update returned")
    seen = (tracks.states == TRACKED) & (tracks.detections >= 0)
    chosen = found[tracks.detections[seen]]
    chosen.tracker_id = tracks.ids[seen]
    return chosen


def from_ultralytics(results: Any, embeddings: np.ndarray | None = None) -> Detections:
    """One of the ``Results`` that an ultralytics model returns, as what ``Tracker.update`` takes."""
    boxes = results.boxes
    if boxes is None:
        return Detections(np.empty((0, 4), np.float32), np.empty(0, np.float32))
    return Detections(
        _rows(boxes, "xyxy", "Results"), _array(boxes.conf), embeddings, classes=_array(boxes.cls).astype(np.int64)
    )


def to_ultralytics(tracks: Tracks) -> np.ndarray:
    """Rows (T, 7) of x1, y1, x2, y2, id, score, class: ``results.update(boxes=torch.from_numpy(rows))``."""
    labels = np.zeros(len(tracks.ids)) if tracks.classes is None else np.maximum(tracks.classes, 0)
    return np.column_stack([tracks.boxes, tracks.ids, tracks.scores, labels]).astype(np.float32)


def _rows(holder: Any, name: str, kind: str) -> np.ndarray:
    values = getattr(holder, name, None)
    if values is None:
        raise UserError(f"{type(holder).__name__} has no {name}: give a {kind}")
    return _array(values).reshape(-1, 4)


def _array(values: Any) -> np.ndarray:
    """A tensor of any device, or what is an array already."""
    return np.asarray(values.detach().cpu() if hasattr(values, "detach") else values)
