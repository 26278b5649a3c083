"""What a tracker reports of a frame."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

TRACKED, LOST = 1, 2
"""States of a reported track: seen in this frame, or hidden and recovered through an occlusion centre."""


class Tracks(NamedTuple):
    """The tracks reported for one frame.

    ids: (T,) from 1; boxes: (T, 4) float64 x1, y1, x2, y2 pixels; scores: (T,) of the last detection that updated it;
    states: (T,) 1 for TRACKED, 2 for LOST but recovered. classes: (T,), -1 where detections have none. detections: (T,)
    the row of this frame's detections that is this track, -1 for a recovered one. Either is None where tracks are read
    back from a file.
    """

    ids: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray
    states: np.ndarray
    classes: np.ndarray | None = None
    detections: np.ndarray | None = None


class LostTracks(NamedTuple):
    """Tracks that are out of sight and may be found again.

    ids: (L,); boxes: (L, 4) x1, y1, x2, y2, predicted into the last frame; scores, classes: (L,) as in ``Tracks``; unseen:
    (L,) frames since they were seen.
    """

    ids: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray
    classes: np.ndarray
    unseen: np.ndarray
