"""Occlusion: overlaps of boxes, which lost tracks a detected occlusion centre brings back, and where their boxes go.

Boxes are (n, 4) x1, y1, x2, y2 pixels; an occlusion centre is the centre of the overlap of two people (section 3.3 of
the paper).
"""

from __future__ import annotations

import numpy as np

from mot_occlusion.tracking import kalman
from mot_occlusion.tracking.association import areas, intersections

MIN_OVERLAP = 0.7
CENTRE_NOISE = 0.21
"""Standard deviation of a detected centre in widths of the overlap, measured on the drawn crowd (RESULTS.md)."""
CENTRE_GATE = 3.8415
"""0.95 quantile of the chi-square distribution with 1 degree of freedom."""
CENTRAL, COVERED = 0.05, 0.2


def overlap_of_smaller(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Intersection over the area of the smaller box (n, m)."""
    smaller = np.minimum(areas(first)[:, None], areas(second))
    return intersections(first, second) / np.maximum(smaller, 1e-12)


def overlap_of_own(boxes: np.ndarray) -> np.ndarray:
    """The largest share (n,) of each box's own area that another one of them covers."""
    common = intersections(boxes, boxes)
    np.fill_diagonal(common, 0)
    return common.max(1, initial=0) / np.maximum(areas(boxes), 1e-12)


def overlap_boxes(boxes: np.ndarray, threshold: float = MIN_OVERLAP) -> np.ndarray:
    """The overlaps (k, 4) of every ordered pair that shares more than ``threshold`` of the smaller one."""
    share = overlap_of_smaller(boxes, boxes)
    np.fill_diagonal(share, 0)
    i, j = np.nonzero(share > threshold)
    return overlap(boxes[i], boxes[j])


def overlap(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The intersections of boxes (..., 4) taken pair by pair (inverted where they do not meet)."""
    return np.concatenate(
        [np.maximum(first[..., :2], second[..., :2]), np.minimum(first[..., 2:], second[..., 2:])], axis=-1
    )


def gaussian_radius(height: np.ndarray, width: np.ndarray, min_overlap: float = MIN_OVERLAP) -> np.ndarray:
    """CornerNet's radius of a box: the least of three roots, in the form of the published code (not divided by a)."""
    total, product = height + width, height * width
    quadratics = (
        (1.0, total, product * (1 - min_overlap) / (1 + min_overlap)),
        (4.0, 2 * total, (1 - min_overlap) * product),
        (4 * min_overlap, -2 * min_overlap * total, (min_overlap - 1) * product),
    )
    return np.min([(b + np.sqrt(b**2 - 4 * a * c)) / 2 for a, b, c in quadratics], axis=0)


def strictly_inside(points: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Which points (m, 2) lie strictly inside which boxes (n, 4): (n, m), compared in float32."""
    points, boxes = points.astype(np.float32), boxes.astype(np.float32)[:, None]
    return np.all((points > boxes[..., :2]) & (points < boxes[..., 2:]), axis=2)


def centre_probability(known: np.ndarray, lost: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """How well centres (..., 2) agree with the overlap of a known and a lost box (..., 4): exp(-d^2 / (2 r^2)).

    d is the distance to the centre of the overlap, r the Gaussian radius of its size; 0 where the boxes do not meet.
    """
    common = overlap(known, lost)
    meet = np.all(common[..., 2:] > common[..., :2], axis=-1)
    size = np.where(meet[..., None], np.ceil(common[..., 2:] - common[..., :2]), 1.0)
    radius = gaussian_radius(size[..., 1], size[..., 0])
    squared = ((centres - (common[..., :2] + common[..., 2:]) / 2) ** 2).sum(-1)
    return np.where(meet, np.exp(-squared / (2 * radius**2)), 0.0)


def refine_lost(known: np.ndarray, lost: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Move lost boxes (..., 4) so that their overlap with the known box is centred at the centre (..., 2), size kept.

    Per axis, with the known box [a1, a2], the lost one of length l starting at b and the centre c, three orderings give
    a solution: b = 2c - a1 - l (b <= a1 and b + l <= a2), b = c - l/2 (b > a1 and b + l <= a2), b = 2c - a2 (b > a1 and
    b + l > a2). Those that satisfy their own ordering are averaged; without one the axis keeps its place.
    """
    start, end = known[..., :2], known[..., 2:]
    length = lost[..., 2:] - lost[..., :2]
    solutions = np.stack([2 * centres - start - length, centres - length / 2, 2 * centres - end])
    early, late = solutions <= start, solutions + length <= end
    consistent = np.stack([early[0] & late[0], ~early[1] & late[1], ~early[2] & ~late[2]])
    count = consistent.sum(0)
    mean = (solutions * consistent).sum(0) / np.maximum(count, 1)
    moved = np.where(count > 0, mean, lost[..., :2])
    return np.concatenate([moved, moved + length], axis=-1)


def recover(
    known: np.ndarray, lost: np.ndarray, centres: np.ndarray, threshold: float = MIN_OVERLAP
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which lost boxes (n, 4) an occlusion centre (m, 2) brings back, and where to.

    A lost box is recovered if some centre lies strictly inside it and inside a known box (k, 4).
    Returns (recovered (n,) bool, refined (n, 4), moved (n,) bool): of all such pairs of a known box and a centre the one
    that agrees best with the current overlap moves the box, if it agrees by at least ``threshold``.
    """
    recovered = np.zeros(len(lost), dtype=bool)
    moved = np.zeros(len(lost), dtype=bool)
    refined = lost.copy()
    if not (len(known) and len(lost) and len(centres)):
        return recovered, refined, moved
    in_lost, in_known = strictly_inside(centres, lost), strictly_inside(centres, known)
    recovered = np.any(in_lost & np.any(in_known, axis=0), axis=1)
    for index in np.flatnonzero(recovered):
        which_known, which_centre = np.nonzero(in_known & in_lost[index])
        pairs = known[which_known], np.broadcast_to(lost[index], (len(which_known), 4)), centres[which_centre]
        agreement = centre_probability(*pairs)
        best = int(np.argmax(agreement))
        if agreement[best] >= threshold:
            refined[index] = refine_lost(*(part[best] for part in pairs))
            moved[index] = True
    return recovered, refined, moved


def follow_centres(
    mean: np.ndarray, blocks: np.ndarray, known: np.ndarray, centres: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Correct lost tracks (n, 8) horizontally by the occlusion centres (m, 2) that lie inside them and inside known boxes.

    The centre of the overlap of the intervals [a1, a2] and [b1, b2] moves with the lost person b by 1 where b lies inside
    a, by 1/2 where it sticks out on one side, and not at all where it covers a; it is measured with a deviation of
    ``CENTRE_NOISE`` of the overlap's width. Of all pairs of a known box and a centre the one that agrees best is taken,
    if it passes the gate; a filter does not double the noise, as solving for b does (``refine_lost``).
    """
    boxes = kalman.to_boxes(mean)
    in_lost, in_known = strictly_inside(centres, boxes), strictly_inside(centres, known)
    innovation, slope, variance = (np.zeros(len(mean)) for _ in range(3))
    variance[:] = np.inf
    for row in range(len(mean)):
        i, j = np.nonzero(in_known & in_lost[row])
        if not len(i):
            continue
        start, end = np.maximum(known[i, 0], boxes[row, 0]), np.minimum(known[i, 2], boxes[row, 2])
        apart = centres[j, 0] - (start + end) / 2
        moves = ((known[i, 0] < boxes[row, 0]) + 0.0 + (known[i, 2] > boxes[row, 2])) / 2
        noise = (CENTRE_NOISE * (end - start)) ** 2
        distance = apart**2 / (moves**2 * blocks[row, 0, 0] + noise)
        best = int(np.argmin(distance))
        if distance[best] <= CENTRE_GATE:
            innovation[row], slope[row], variance[row] = apart[best], moves[best], noise[best]
    return kalman.update_centre_x(mean, blocks, innovation, slope, variance)


def partly_covered(boxes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Which boxes (N, 4) another one of them covers in part, away from the border of an image of (width, height): (N,) bool."""
    border = np.array(size)
    centres = ((boxes[:, :2] + boxes[:, 2:]) / 2).clip(0, border - 1)
    inside = ((centres > CENTRAL * border) & (centres < (1 - CENTRAL) * border)).all(1)
    return inside & (overlap_of_own(boxes) > COVERED)
