"""Classical restoration along the flow, and the network without recurrence: what the recurrent network is compared with."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from old_films_rtn.models.rtn import RTN, warp

Restore = Callable[..., Tensor]
"""(clip (1, t, 3, h, w), forward flow, backward flow) -> restored clip."""


def temporal_median(clip: Tensor, forward_flow: Tensor, backward_flow: Tensor) -> Tensor:
    """Median of three frames, both neighbours brought to the frame by the flow; clip (n, t, c, h, w), flows as ``RTN``.

    At the ends of the clip the two frames on one side are used, the further one by the flows one after the other. A clip
    of fewer than three frames stays as it is.
    """
    t = clip.shape[1]
    if t < 3:
        return clip
    # Where a neighbour is outside the frame, its border stands for it: zeros would win a median.
    before = [warp(clip[:, i - 1], forward_flow[:, i - 1], "border") for i in range(1, t)]
    after = [warp(clip[:, i + 1], backward_flow[:, i], "border") for i in range(t - 1)]

    def twice(flow: Tensor, following: Tensor) -> Tensor:
        return flow + warp(following, flow, "border")

    first = warp(clip[:, 2], twice(backward_flow[:, 0], backward_flow[:, 1]), "border")
    last = warp(clip[:, -3], twice(forward_flow[:, -1], forward_flow[:, -2]), "border")
    before, after = [first, *before], [*after, last]
    return torch.stack(
        [
            torch.stack((a, clip[:, i], b)).median(dim=0).values
            for i, (a, b) in enumerate(zip(before, after, strict=True))
        ],
        dim=1,
    )


def residual_map(clip: Tensor, forward_flow: Tensor, backward_flow: Tensor) -> Tensor:
    """The classical detector (n, t, 1, h, w): the smaller difference to the two aligned neighbours, of channel 0.

    At the ends of the clip there is one neighbour only. In the clip's units.
    """
    t = clip.shape[1]
    grey = clip[:, :, :1]
    found = []
    for i in range(t):
        differences = []
        if i > 0:
            differences.append((warp(grey[:, i - 1], forward_flow[:, i - 1], "border") - grey[:, i]).abs())
        if i < t - 1:
            differences.append((warp(grey[:, i + 1], backward_flow[:, i], "border") - grey[:, i]).abs())
        found.append(torch.stack(differences).amin(0) if differences else torch.zeros_like(grey[:, i]))
    return torch.stack(found, dim=1)


def single_frames(rtn: RTN) -> Restore:
    """A network without recurrence: every frame is a clip of its own."""

    def restore(clip: Tensor, *flows: Tensor) -> Tensor:
        frames = clip.flatten(0, 1)[:, None]
        nothing = clip.new_zeros(len(frames), 0, 2, *clip.shape[-2:])
        return rtn(frames, nothing, nothing)[0].view_as(clip)

    return restore
