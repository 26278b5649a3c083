"""What a detector hands to the tracker for one frame. NumPy only: any detector can fill it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Detections(NamedTuple):
    """The detections of one frame, in pixels of the image.

    boxes: (N, 4) x1, y1, x2, y2; whole (amodal) boxes, which may leave the image.
    scores: (N,) in [0, 1].
    embeddings: (N, D), any scale (the tracker compares directions), or None.
    centres: (M, 2) x, y of occlusions (centres of the overlap of two people), or None.
    centre_scores: (M,) in [0, 1], or None for certain ones.
    classes: (N,) whole numbers from 0, or None; a track keeps to detections of its class.
    """

    boxes: np.ndarray
    scores: np.ndarray
    embeddings: np.ndarray | None = None
    centres: np.ndarray | None = None
    centre_scores: np.ndarray | None = None
    classes: np.ndarray | None = None
