"""Costs between tracks and detections, and the assignment that minimises them. Boxes are (n, 4) x1, y1, x2, y2."""

from __future__ import annotations

import numpy as np
from scipy.optimize import linear_sum_assignment

from mot_occlusion.tracking.kalman import GATE

MOTION_WEIGHT = 0.02
"""Share of the Mahalanobis distance in the cost of the first association (1 - lambda of the published code)."""


def intersections(first: np.ndarray, second: np.ndarray, pixel: float = 0.0) -> np.ndarray:
    """Areas (n, m) of the intersections; ``pixel`` = 1 counts both border pixels, as the published IoU cost does."""
    width = np.minimum(first[:, None, 2], second[:, 2])
    width -= np.maximum(first[:, None, 0], second[:, 0])
    width += pixel
    height = np.minimum(first[:, None, 3], second[:, 3])
    height -= np.maximum(first[:, None, 1], second[:, 1])
    height += pixel
    np.maximum(width, 0, out=width)
    np.maximum(height, 0, out=height)
    width *= height
    return width


def areas(boxes: np.ndarray, pixel: float = 0.0) -> np.ndarray:
    """Areas (n,) of the boxes; ``pixel`` as in ``intersections``."""
    return (boxes[:, 2] - boxes[:, 0] + pixel) * (boxes[:, 3] - boxes[:, 1] + pixel)


def iou(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """IoU (n, m)."""
    common = intersections(first, second)
    return common / np.maximum(areas(first)[:, None] + areas(second) - common, 1e-12)


def iou_distance(tracks: np.ndarray, detections: np.ndarray) -> np.ndarray:
    """1 - IoU (n, m) with inclusive pixels (+1 on widths and heights), the convention of the published tracker."""
    common = intersections(tracks, detections, 1.0)
    union = areas(tracks, 1.0)[:, None] + areas(detections, 1.0)
    union -= common
    np.divide(common, union, out=common, where=common > 0)
    return np.subtract(1.0, common, out=common)


def embedding_distance(tracks: np.ndarray, detections: np.ndarray) -> np.ndarray:
    """max(0, 1 - cosine) (n, m) between embeddings (n, D) and (m, D), in float64."""
    tracks, detections = (features.astype(np.float64) for features in (tracks, detections))
    for features in (tracks, detections):
        features /= np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    cost = tracks @ detections.T
    np.subtract(1.0, cost, out=cost)
    return np.maximum(cost, 0, out=cost)


def fuse_motion(cost: np.ndarray, gating: np.ndarray, weight: float = MOTION_WEIGHT) -> np.ndarray:
    """(1 - weight) * cost + weight * squared Mahalanobis distance (n, m); infinite outside the gate."""
    fused = (1 - weight) * cost
    fused += weight * gating
    fused[gating > GATE] = np.inf
    return fused


def assign(cost: np.ndarray, limit: float) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns (k,) of the matching with the least total cost, where an unmatched row or column costs limit / 2.

    This is LAPJV on the cost matrix extended by ``limit / 2`` (``lap.lapjv(extend_cost=True, cost_limit=limit)``): a pair is
    worth matching only below the limit, and is left apart when that lowers the total. Since leaving a pair apart costs
    just ``limit``, it equals the plain assignment of ``min(cost - limit, 0)`` without its zeros, and it falls apart
    into the connected components of the pairs below the limit: those of a single pair need no solver.
    Rows come in increasing order.
    """
    if not cost.size:
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    possible = cost < limit
    per_row, per_column = possible.sum(1), possible.sum(0)
    single_rows = np.flatnonzero(per_row == 1)
    columns = possible[single_rows].argmax(1)
    alone = per_column[columns] == 1
    rows, columns = single_rows[alone], columns[alone]
    per_row[rows] = 0
    per_column[columns] = 0
    rest_rows, rest_columns = np.flatnonzero(per_row), np.flatnonzero(per_column)
    if len(rest_rows):
        gain = np.minimum(cost[np.ix_(rest_rows, rest_columns)] - limit, 0)
        i, j = linear_sum_assignment(gain)
        worth = gain[i, j] < 0
        rows = np.concatenate([rows, rest_rows[i[worth]]])
        columns = np.concatenate([columns, rest_columns[j[worth]]])
        order = np.argsort(rows)
        rows, columns = rows[order], columns[order]
    return rows, columns


def claimed_by_public(boxes: np.ndarray, public: np.ndarray) -> np.ndarray:
    """Which detections may start a track under the public protocol of MOTChallenge: positions (k,), in order of claim.

    boxes: (n, 4) detections; public: (m, 4) public detections. Each public one in turn claims the unclaimed detection
    with the nearest centre, if the squared distance is less than that detection's area.
    """
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    distance = ((centres[:, None] - (public[:, :2] + public[:, 2:]) / 2) ** 2).sum(2)
    area = areas(boxes)
    claimed: list[int] = []
    for column in distance.T[: None if len(boxes) else 0]:
        nearest = int(np.argmin(column))
        if column[nearest] < area[nearest]:
            claimed.append(nearest)
            distance[nearest] = np.inf
    return np.array(claimed, dtype=np.int64)
