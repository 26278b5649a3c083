"""Overlaps of all boxes of a sequence, as a list of pairs, and matchings on such lists."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

EPS = np.finfo(float).eps
_CELLS = 60_000
"""How many pairs are compared at once: as many as stay in a processor's cache."""


class Pairs(NamedTuple):
    """Pairs of a ground-truth row and a result row of the same frame that overlap, in order of the frames.

    gt, results: (P,) row numbers; iou: (P,) above 0.
    """

    gt: np.ndarray
    results: np.ndarray
    iou: np.ndarray

    def select(self, chosen: np.ndarray) -> Pairs:
        return Pairs(*(column[chosen] for column in self))


def overlapping_pairs(gt_boxes: np.ndarray, gt_starts: np.ndarray, boxes: np.ndarray, starts: np.ndarray) -> Pairs:
    """All overlapping pairs; boxes are (N, 4) x, y, w, h, and the rows of frame f are ``starts[f] : starts[f + 1]``."""
    counts, gt_counts = np.diff(starts), np.diff(gt_starts)
    busy = np.flatnonzero((counts > 0) & (gt_counts > 0))
    found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    position = 0
    while position < len(busy):
        # Neighbouring frames have about as many boxes: they are compared as one padded block.
        block = busy[position : position + 1]
        size = max(1, _CELLS // max(1, int(gt_counts[block[0]] * counts[block[0]])))
        block = busy[position : position + size]
        position += size
        first, first_known = _padded(gt_boxes, gt_starts, gt_counts, block)
        second, second_known = _padded(boxes, starts, counts, block)
        # The areas are those of the corners, as the official kit has them, not w * h: they differ in the last bit.
        area = (first[..., 2] - first[..., 0]) * (first[..., 3] - first[..., 1])
        other = (second[..., 2] - second[..., 0]) * (second[..., 3] - second[..., 1])
        width = np.minimum(first[:, :, None, 2], second[:, None, :, 2])
        width -= np.maximum(first[:, :, None, 0], second[:, None, :, 0])
        height = np.minimum(first[:, :, None, 3], second[:, None, :, 3])
        height -= np.maximum(first[:, :, None, 1], second[:, None, :, 1])
        meet = (width > 0) & (height > 0)
        meet &= (first_known & (area > EPS))[:, :, None] & (second_known & (other > EPS))[:, None, :]
        f, i, j = np.nonzero(meet)
        common = width[f, i, j] * height[f, i, j]
        iou = common / (area[f, i] + other[f, j] - common)
        found.append((gt_starts[block[f]] + i, starts[block[f]] + j, iou))
    if not found:
        return Pairs(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64), np.empty(0))
    return Pairs(*(np.concatenate(column) for column in zip(*found, strict=True)))


def _padded(
    boxes: np.ndarray, starts: np.ndarray, counts: np.ndarray, frames: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Corners (F, most, 4) of the boxes of frames and which of them are real."""
    slot = np.arange(counts[frames].max())
    known = slot < counts[frames][:, None]
    rows = np.where(known, starts[frames][:, None] + slot, 0)
    corners = boxes[rows]
    corners[..., 2:] += corners[..., :2]
    return corners, known


def heaviest_matching(gt: np.ndarray, results: np.ndarray, weights: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Which pairs (P,) belong to the matching of the largest total weight.

    gt, results: (P,) rows, each of one group (frame) only; weights: (P,) positive; groups: (P,) in increasing order.
    A pair that outweighs the best other pair of its row and the best other pair of its column together is in every
    such matching; what is left after two rounds of that is solved group by group.
    """
    chosen = np.zeros(len(gt), dtype=bool)
    left = np.arange(len(gt))
    size, other_size = (int(rows.max(initial=-1)) + 1 for rows in (gt, results))
    for _ in range(2):
        rows, columns, weight = gt[left], results[left], weights[left]
        certain = weight > _best_other(rows, weight, size) + _best_other(columns, weight, other_size)
        chosen[left[certain]] = True
        taken, other_taken = np.zeros(size, dtype=bool), np.zeros(other_size, dtype=bool)
        taken[rows[certain]] = True
        other_taken[columns[certain]] = True
        left = left[~(taken[rows] | other_taken[columns])]
    if len(left):
        bounds = np.flatnonzero(np.diff(groups[left], prepend=-1))
        for part in np.split(left, bounds[1:]):
            chosen[part[solve(gt[part], results[part], weights[part])]] = True
    return chosen


def _best_other(rows: np.ndarray, weights: np.ndarray, size: int) -> np.ndarray:
    """For every pair the largest weight among the other pairs of its row, 0 if there is none."""
    best, second = np.zeros(size), np.zeros(size)
    np.maximum.at(best, rows, weights)
    is_best = weights == best[rows]
    np.maximum.at(second, rows[~is_best], weights[~is_best])
    shared = np.bincount(rows[is_best], minlength=size) > 1
    second[shared] = best[shared]
    return np.where(is_best, second[rows], best[rows])


def solve(rows: np.ndarray, columns: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Positions (k,) of the pairs of the heaviest matching, by one dense assignment."""
    row_names, i = np.unique(rows, return_inverse=True)
    column_names, j = np.unique(columns, return_inverse=True)
    dense = np.zeros((len(row_names), len(column_names)))
    dense[i, j] = weights
    matched = np.zeros(dense.shape, dtype=bool)
    matched[linear_sum_assignment(dense, maximize=True)] = True
    return np.flatnonzero(matched[i, j])
