"""The defect map: where a network changed the picture. Functions of tensors, for clips in training and evaluation.

The gates of the recurrence learn to average grain, too, so they find defects less well than what was changed in the end.
``compositing`` does the same with the planes of a film's frames.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

THRESHOLD = 0.08
"""From which change on, as a share of the range from black to white, a pixel is a defect: measured, see RESULTS.md."""
GROWTH, SOFTNESS = 2, 1.5
"""Pixels that are added around a defect, and the standard deviation of the edge after that."""


def change_map(restored: Tensor, clip: Tensor) -> Tensor:
    """How much a pixel and its 8 neighbours were changed, on the mean: (..., 1, h, w) of clips (..., c, h, w) in [-1, 1],
    as a share of the range from black to white."""
    change = ((restored - clip).abs() / 2).mean(-3, keepdim=True)
    mean = F.avg_pool2d(change.flatten(0, -4), 3, stride=1, padding=1, count_include_pad=False)
    return mean.view_as(change)


def defect_share(change: Tensor, threshold: float = THRESHOLD) -> Tensor:
    """(..., 1, h, w) in [0, 1]: 1 on defects and their neighbours, falling off softly from there, exactly 0 elsewhere."""
    hard = (change >= threshold).float().flatten(0, -4)
    whole, grown = (F.max_pool2d(hard, 2 * by + 1, stride=1, padding=by) for by in (1, GROWTH))
    places = torch.arange(-3.0, 4.0, device=change.device)
    kernel = torch.exp(-places.square() / (2 * SOFTNESS**2))
    kernel = kernel / kernel.sum()
    soft = F.conv2d(F.pad(grown, (3, 3, 0, 0), mode="reflect"), kernel.view(1, 1, 1, 7))
    soft = F.conv2d(F.pad(soft, (0, 0, 3, 3), mode="reflect"), kernel.view(1, 1, 7, 1))
    return torch.maximum(soft, whole).view_as(change)


def composited(restored: Tensor, clip: Tensor, threshold: float = THRESHOLD) -> Tensor:
    """The clip, with what was restored inside its defect map: what a second pass begins from."""
    share = defect_share(change_map(restored, clip), threshold)
    return clip + share * (restored - clip)
