"""Where flow comes from when a film is restored: RAFT, OpenCV's DIS, or nowhere (``pretrained.flow_source`` by name).

A flow source has two methods: ``features(frames (n, c, h, w) in [-1, 1])``, called once a frame, and ``flow(a, b)`` of two
frames' features: (n, 2, h, w), in pixels, where each pixel of a is in b. ``RAFT`` is one as it stands.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Protocol

import cv2
import numpy as np
import torch
from torch import Tensor

from old_films_rtn.models.raft import Features


class FlowSource(Protocol):
    """What the recurrences need of a flow estimator."""

    def features(self, frames: Tensor) -> Any: ...

    def flow(self, a: Any, b: Any) -> Tensor: ...


def made_again(source: FlowSource) -> bool:
    """Whether its flows are cheaper to make again than to keep on disk: those of ``DIS`` and ``NoFlow`` are."""
    return getattr(source, "made_again", False)


class DIS:
    """Dense inverse search (Kroeger et al., ECCV 2016) by OpenCV, medium preset, on the first channel in 8 bits.

    A 3x3 median goes before: specks of dirt would otherwise be taken for motion.
    """

    made_again = True

    def __init__(self) -> None:
        self._search: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)

    def features(self, frames: Tensor) -> tuple[list[np.ndarray], torch.device]:
        """The first channels as uint8 images."""
        grey = ((frames[:, 0].float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).cpu().numpy()
        return [cv2.medianBlur(image, 3) for image in grey], frames.device

    def flow(self, a: tuple[list[np.ndarray], torch.device], b: tuple[list[np.ndarray], torch.device]) -> Tensor:
        """(n, 2, h, w), float32, on the device of the frames."""
        flows = [self._search.calc(first, second, None) for first, second in zip(a[0], b[0], strict=True)]
        return torch.from_numpy(np.stack(flows)).permute(0, 3, 1, 2).contiguous().to(a[1])


class NoFlow:
    """No motion: for films that stand still, and to see what the flow is worth."""

    made_again = True

    def features(self, frames: Tensor) -> Tensor:
        """The frames; only their shape is used."""
        return frames

    def flow(self, a: Tensor, b: Tensor) -> Tensor:
        """Zeros (n, 2, h, w)."""
        return a.new_zeros(a.shape[0], 2, *a.shape[-2:], dtype=torch.float32)


def pair_flows(source: FlowSource, pairs: Sequence[tuple[Any, Any]]) -> list[tuple[Tensor, Tensor]]:
    """(forward, backward) of every pair (earlier, later) of frames' features: where the pixels of the later frame are in the
    earlier one, and the other way. RAFT gets them as one batch."""
    if not pairs or not isinstance(pairs[0][0], Features):
        return [(source.flow(later, earlier), source.flow(earlier, later)) for earlier, later in pairs]
    earlier, later = (Features.joined(side) for side in zip(*pairs, strict=True))
    both = source.flow(Features.joined((later, earlier)), Features.joined((earlier, later)))
    forward, backward = (flows.chunk(len(pairs)) for flows in both.chunk(2))
    return list(zip(forward, backward, strict=True))


AT_ONCE = 2
"""Pairs in a batch: with both directions four flows, more gain nothing."""


def clip_flows(source: FlowSource, clip: Tensor) -> tuple[Tensor, Tensor]:
    """(forward, backward) flows (n, t - 1, 2, h, w) of a clip (n, t, c, h, w): frame i + 1 -> i, and i -> i + 1."""
    encoded = [source.features(clip[:, index]) for index in range(clip.shape[1])]
    pairs = list(pairwise(encoded))
    if not pairs:
        empty = clip.new_zeros(clip.shape[0], 0, 2, *clip.shape[-2:])
        return empty, empty
    starts = range(0, len(pairs), AT_ONCE)
    both = [flows for start in starts for flows in pair_flows(source, pairs[start : start + AT_ONCE])]
    forward, backward = (torch.stack(flows, dim=1) for flows in zip(*both, strict=True))
    return forward, backward
