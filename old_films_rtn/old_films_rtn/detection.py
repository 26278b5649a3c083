"""From a clip to where its defects are, and the clip with them filled in: what goes before the recurrences in networks that
have a detector. Functions of tensors; ``streaming`` does the same with the frames of a shot."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

from old_films_rtn.defect_map import change_map, defect_share
from old_films_rtn.flow import FlowSource, clip_flows
from old_films_rtn.models.detector import probabilities
from old_films_rtn.models.rtn import RTN, warp

DETECTED = 0.5
"""From which probability on a pixel is a defect."""


def views(
    x: Tensor, before: Tensor | None, after: Tensor | None, to_before: Tensor | None, to_after: Tensor | None
) -> Tensor:
    """What the detector is shown of a frame (n, 11, h, w), from the frame and its neighbours (n, 1, h, w) and the flows
    (n, 2, h, w) to them; at the ends of a shot a neighbour is None and the other one stands for it.

    The frame; both neighbours where they are, against which a scratch stands still, and along the flow, against which the
    scene does; both flows; what neither neighbour explains, and the difference to the median of the three.
    """
    if before is None and after is None:
        before = after = x
        to_before = to_after = x.new_zeros(len(x), 2, *x.shape[-2:], dtype=torch.float32)
    elif before is None:
        before, to_before = after, to_after
    elif after is None:
        after, to_after = before, to_before
    assert before is not None and after is not None and to_before is not None and to_after is not None
    behind, ahead = warp(before, to_before, "border"), warp(after, to_after, "border")
    unexplained = torch.minimum((behind - x).abs(), (ahead - x).abs())
    median = torch.maximum(torch.minimum(behind, ahead), torch.minimum(torch.maximum(behind, ahead), x))
    motion = [(flow / 8).clamp(-4, 4) for flow in (to_before, to_after)]
    return torch.cat((x, before, after, behind, ahead, unexplained, x - median, *motion), dim=1)


def clip_views(clip: Tensor, forward_flow: Tensor, backward_flow: Tensor) -> Tensor:
    """The views (n, t, 11, h, w) of a clip (n, t, c, h, w); flows as ``RTN`` takes them."""
    grey, t = clip[:, :, :1], clip.shape[1]
    shown = []
    for i in range(t):
        before, to_before = (grey[:, i - 1], forward_flow[:, i - 1]) if i else (None, None)
        after, to_after = (grey[:, i + 1], backward_flow[:, i]) if i < t - 1 else (None, None)
        shown.append(views(grey[:, i], before, after, to_before, to_after))
    return torch.stack(shown, dim=1)


def clip_logits(rtn: RTN, clip: Tensor, forward_flow: Tensor, backward_flow: Tensor) -> Tensor:
    """The detector's logits (n, t, 1, h, w) of a clip."""
    assert rtn.detector is not None
    shown = clip_views(clip, forward_flow, backward_flow)
    return rtn.detector(shown.flatten(0, 1)).unflatten(0, shown.shape[:2])


def clip_defects(rtn: RTN, clip: Tensor, forward_flow: Tensor, backward_flow: Tensor) -> Tensor:
    """The probability (n, t, 1, h, w) that a pixel is a defect."""
    return probabilities(clip_logits(rtn, clip, forward_flow, backward_flow))


def restored_clip(
    rtn: RTN, clip: Tensor, flows: tuple[Tensor, Tensor], source: FlowSource | None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """A clip (n, t, c, h, w) restored, the masks of both directions' gates, and the defect map, (n, t, 1, h, w) each.

    A network that has a detector restores the clip with its defects filled in, with the flow of ``source`` from that (None:
    the flow that is given), inside the map; of others the map is their change. Everything at once: films go through
    ``inference``.
    """
    if rtn.detector is None:
        restored, *masks = rtn(clip, *flows)
        return restored, *masks, change_map(restored, clip)
    defects = clip_defects(rtn, clip, *flows)
    filled = filled_clip(clip, defects)
    restored, *masks = rtn(filled, *(flows if source is None else clip_flows(source, filled)))
    return clip + defect_share(defects, DETECTED) * (restored - clip), *masks, defects


def filled_clip(clip: Tensor, defects: Tensor, threshold: float = DETECTED) -> Tensor:
    """The clip (n, t, c, h, w) with its defects (n, t, 1, h, w) filled from around them, as ``filled``."""
    channels = clip.shape[2]
    planes, maps = (maps[:, :, 0].detach().flatten(0, 1).cpu().numpy() for maps in (clip, defects))
    whole = torch.from_numpy(np.stack([filled(*each, threshold) for each in zip(planes, maps, strict=True)]))
    return whole.to(clip).unflatten(0, clip.shape[:2])[:, :, None].expand(-1, -1, channels, -1, -1).contiguous()


def filled(plane: np.ndarray, defects: np.ndarray, threshold: float = DETECTED) -> np.ndarray:
    """A plane (h, w) with the pixels whose defects (h, w) reach ``threshold``, and their neighbours, interpolated from the
    nearest others: linearly along the row and along the column, the shorter of both gaps counting more.

    So a scratch is bridged sideways, and the flow that is estimated next does not see it.
    """
    hole = cv2.dilate((defects >= threshold).astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
    if not hole.any() or hole.all():
        return plane
    (across, wide), (along, high) = _bridged(plane, hole), (side.T for side in _bridged(plane.T, hole.T))
    bridge = (across * wide + along * high) / np.maximum(wide + high, 1e-12)
    known = wide + high > 0
    return np.where(hole & known, bridge, plane).astype(plane.dtype)


def _bridged(plane: np.ndarray, hole: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Linear interpolation along the rows over a hole, and its weight: one over the square of the gap, 0 where a row is
    nothing but hole."""
    width = plane.shape[1]
    at = np.broadcast_to(np.arange(width), plane.shape)
    left = np.maximum.accumulate(np.where(hole, -1, at), axis=1)
    right = np.minimum.accumulate(np.where(hole, width, at)[:, ::-1], axis=1)[:, ::-1]
    has_left, has_right = left >= 0, right < width
    first = np.take_along_axis(plane, left.clip(0), 1)
    last = np.take_along_axis(plane, right.clip(None, width - 1), 1)
    share = (at - left) / np.maximum(right - left, 1)
    value = np.where(has_left & has_right, first + share * (last - first), np.where(has_left, first, last))
    gap = np.where(has_left & has_right, right - left, 4 * np.where(has_left, at - left, right - at))
    return value, np.where(has_left | has_right, 1 / np.square(np.maximum(gap, 1.0)), 0.0)
