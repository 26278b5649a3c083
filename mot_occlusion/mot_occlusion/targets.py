"""Detection and occlusion targets of one frame, from boxes alone (paper, sections 3.1 and 3.3; CenterNet's Gaussians)."""

from __future__ import annotations

import logging
from functools import lru_cache

import numpy as np

from mot_occlusion.tracking.occlusion import gaussian_radius, overlap_boxes

log = logging.getLogger(__name__)
_warned: set[int] = set()


@lru_cache(maxsize=512)
def _gaussian(radius: int) -> np.ndarray:
    """(2 r + 1, 2 r + 1) with peak 1 and sigma = (2 r + 1) / 6."""
    profile = np.exp(-(np.arange(-radius, radius + 1) ** 2) / (2 * ((2 * radius + 1) / 6) ** 2))
    return np.outer(profile, profile).astype(np.float32)


def render_gaussians(cells: np.ndarray, radii: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The pixel-wise maximum of Gaussians that are cut off beyond their radius, (h, w). cells: (N, 2) integer x, y."""
    height, width = size
    heatmap = np.zeros(size, np.float32)
    for (x, y), radius in zip(cells.tolist(), radii.tolist(), strict=True):
        left, top = max(0, x - radius), max(0, y - radius)
        right, bottom = min(width, x + radius + 1), min(height, y + radius + 1)
        window = heatmap[top:bottom, left:right]
        corner_x, corner_y = left - x + radius, top - y + radius
        patch = _gaussian(radius)[corner_y : corner_y + bottom - top, corner_x : corner_x + right - left]
        np.maximum(window, patch, out=window)
    return heatmap


def detection_targets(
    boxes: np.ndarray,
    size: tuple[int, int],
    max_objects: int = 500,
    overlap_threshold: float = 0.7,
    visible: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """What the heads shall say about one frame.

    Args:
        boxes: (N, 4) cx, cy, w, h as fractions of the network input.
        size: (h, w) of the maps.
        max_objects: slots.
        overlap_threshold: two people overlap who share more than that of the smaller one.
        visible: (N,) which people can be seen; the others are in no target but that of the overlaps. None: all.

    Returns:
        ``hm`` (1, h, w); ``wh`` (max_objects, 4) left, top, right, bottom distances, ``reg`` (max_objects, 2), ``ind``
        flat cells and ``reg_mask``; for occlusions ``occlusion`` (1, h, w), and with 4 max_objects slots
        ``occ_offset``, ``occ_ind`` and ``occ_mask``. Lengths are in cells. Slot k is row k of ``boxes``, empty where
        that has no extent or is not visible; beyond ``max_objects`` boxes the largest stay, in order, with one
        warning. ``kept``: the rows in the slots.
    """
    height, width = size
    boxes = np.asarray(boxes, np.float32).reshape(-1, 4) * np.array([width, height, width, height], np.float32)
    kept = np.arange(len(boxes))
    visible = np.ones(len(boxes), bool) if visible is None else visible
    if len(boxes) > max_objects:
        if max_objects not in _warned:
            _warned.add(max_objects)
            log.warning("a frame has %d boxes, max_objects is %d: the largest are kept", len(boxes), max_objects)
        kept = np.sort(np.argsort(-boxes[:, 2] * boxes[:, 3], kind="stable")[:max_objects])
        boxes, visible = boxes[kept], visible[kept]
    solid = (boxes[:, 2:] > 0).all(1)
    shown = solid & visible
    limit = np.array([width - 1, height - 1], np.float32)
    centres, sizes = np.clip(boxes[:, :2], 0, limit), boxes[:, 2:]
    out = {"hm": _heatmap(centres[shown], sizes[shown], size), "kept": kept}
    out["reg"], out["ind"], out["reg_mask"] = _slots(centres, shown, width, max_objects)
    # The centre is clipped into the map; distances go from there to the edges of the whole box.
    out["wh"] = np.zeros((max_objects, 4), np.float32)
    edges = np.concatenate((centres - (boxes[:, :2] - sizes / 2), boxes[:, :2] + sizes / 2 - centres), axis=1)
    out["wh"][: len(boxes)] = np.where(shown[:, None], edges, 0)

    centres, sizes = centres[solid], sizes[solid]
    overlaps = overlap_boxes(np.concatenate((centres - sizes / 2, centres + sizes / 2), 1), overlap_threshold)
    overlaps = np.clip(overlaps, 0, np.tile(limit, 2))
    overlaps = overlaps[(overlaps[:, 2:] > overlaps[:, :2]).all(1)][: 4 * max_objects]
    centres = (overlaps[:, :2] + overlaps[:, 2:]) / 2
    out["occlusion"] = _heatmap(centres, overlaps[:, 2:] - overlaps[:, :2], size)
    everywhere = np.ones(len(centres), bool)
    out["occ_offset"], out["occ_ind"], out["occ_mask"] = _slots(centres, everywhere, width, 4 * max_objects)
    return out


def _heatmap(centres: np.ndarray, sizes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    radii = np.maximum(0, gaussian_radius(np.ceil(sizes[:, 1]), np.ceil(sizes[:, 0])))
    return render_gaussians(centres.astype(np.int64), radii.astype(np.int64), size)[None]


def _slots(centres: np.ndarray, used: np.ndarray, width: int, num_slots: int) -> tuple[np.ndarray, ...]:
    """Offset within the cell (num_slots, 2), flat cell and mask (num_slots,) of the centres, slot k being centre k."""
    cells, number = centres.astype(np.int64), len(centres)
    offset, index, mask = np.zeros((num_slots, 2), np.float32), np.zeros(num_slots, np.int64), np.zeros(num_slots, bool)
    offset[:number] = np.where(used[:, None], centres - cells, 0)
    index[:number] = np.where(used, cells[:, 1] * width + cells[:, 0], 0)
    mask[:number] = used
    return offset, index, mask
