"""The trackers that are compared, a tracker over a whole sequence, and how well recovered boxes cover their people."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from mot_occlusion.data.mot_format import Rows
from mot_occlusion.detections import Detections
from mot_occlusion.evaluation.pairs import overlapping_pairs
from mot_occlusion.tracking import LOST, PUBLISHED, Tracker

IOU, FAIR, REID = "IoU only, published", "IoU only, fair", "+ re-ID"
WINDOWS = (1, 3, 5, 10, 30)
ABLATION = "ablation.json"
"""The file that an ablation leaves in its folder."""


def arms(windows: tuple[int, ...] = WINDOWS) -> Iterator[tuple[str, dict[str, Any]]]:
    """The trackers that are compared: names and options of ``Tracker``.

    The published IoU-only mode can never find a lost track again; the fair one can, and so is the baseline.
    """
    yield IOU, PUBLISHED | {"reid": False, "occlusion": False}
    yield FAIR, {"reid": False, "occlusion": False}
    yield REID, {"occlusion": False}
    for window in windows:
        yield f"+ occlusion, window {window}", {"recovery_window": window, "refine_lost_box": "none"}
    kept = {"recovery_window": windows[-1], "refine_lost_box": "none", "recovered_overlap": 1.0}
    yield f"same, window {windows[-1]}, doubled boxes kept", kept
    for refinement in ("output", "kalman", "centre"):
        options = {"recovery_window": windows[-1], "refine_lost_box": refinement}
        yield f"+ occlusion, window {windows[-1]}, refined ({refinement})", options


def track(
    detections: list[Detections], image_size: tuple[int, int], frame_rate: float, **options: Any
) -> tuple[Rows, np.ndarray]:
    """Track a whole sequence of given detections; its results and the state (1 tracked, 2 recovered) of every row."""
    tracker = Tracker(image_size, frame_rate, **options)
    found = [tracker.update(one) for one in detections]
    boxes = np.concatenate([tracks.boxes for tracks in found]).reshape(-1, 4)
    boxes[:, 2:] -= boxes[:, :2]
    frames = np.repeat(np.arange(1, len(found) + 1), [len(tracks.ids) for tracks in found])
    ids, scores, states = (
        np.concatenate([getattr(tracks, name) for tracks in found]) for name in ("ids", "scores", "states")
    )
    ones = np.ones(len(frames))
    return Rows(frames, ids, boxes, scores, -ones.astype(np.int64), ones), states


def recovered_overlap(gt: Rows, results: Rows, states: np.ndarray, num_frames: int) -> float:
    """Mean IoU of recovered boxes with the person they stand for; 0 for whom is not there; NaN without recovered boxes.

    A track stands for the person whom it covered (IoU of at least 0.5) in most of the frames in which it was tracked.
    """
    pairs = overlapping_pairs(gt.boxes, gt.starts(num_frames), results.boxes, results.starts(num_frames))
    names, owner = np.unique(gt.ids, return_inverse=True)
    tracks, track_of = np.unique(results.ids, return_inverse=True)
    sure = (pairs.iou >= 0.5) & (states[pairs.results] != LOST)
    cells = track_of[pairs.results[sure]] * len(names) + owner[pairs.gt[sure]]
    covered = np.bincount(cells, minlength=len(tracks) * len(names)).reshape(len(tracks), len(names))
    person = covered.argmax(1)
    right = (states[pairs.results] == LOST) & (owner[pairs.gt] == person[track_of[pairs.results]])
    hidden = int((states == LOST).sum())
    return float(pairs.iou[right].sum() / hidden) if hidden else float("nan")
