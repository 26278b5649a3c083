"""The motion of the camera between two frames, from corners of the background that both show (OpenCV, sparse flow)."""

from __future__ import annotations

import numpy as np

#: Frames are compared at this longer side at most: motion of the whole picture needs no detail.
LONGER_SIDE = 480
_CORNERS, _LEAST = 400, 12
STILL = np.array([[1.0, 0, 0], [0, 1, 0]])


class CameraMotion:
    """What a moving camera does to the picture, frame by frame; give it to ``Tracker.update`` as ``motion``."""

    def __init__(self) -> None:
        self._last: np.ndarray | None = None
        self._people = np.empty((0, 4))

    def __call__(self, image: np.ndarray | None, people: np.ndarray | None = None) -> np.ndarray:
        """How points of the frame before moved into this one, by a turn, a scale and a shift.

        Args:
            image: (H, W, 3) uint8 RGB; None where it cannot be read.
            people: (N, 4) x1, y1, x2, y2 of what moves by itself in this frame; its corners are not looked at.

        Returns:
            (2, 3) float64; the identity in the first frame, and where too few corners agree.
        """
        import cv2

        if image is None:
            return STILL.copy()
        ratio = min(1.0, LONGER_SIDE / max(image.shape[:2]))
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        if ratio < 1:
            grey = cv2.resize(grey, None, fx=ratio, fy=ratio, interpolation=cv2.INTER_AREA)
        last, before = self._last, self._people
        self._last, self._people = grey, np.empty((0, 4)) if people is None else np.asarray(people, np.float64)
        if last is None or last.shape != grey.shape:
            return STILL.copy()
        background = np.full(last.shape, 255, np.uint8)
        for x1, y1, x2, y2 in (before * ratio).round().astype(int).clip(0):
            background[y1:y2, x1:x2] = 0
        corners = cv2.goodFeaturesToTrack(last, _CORNERS, 0.01, 5, mask=background)
        if corners is None or len(corners) < _LEAST:
            return STILL.copy()
        moved, found, _ = cv2.calcOpticalFlowPyrLK(last, grey, corners, np.empty_like(corners))
        kept = found.reshape(-1) == 1
        if kept.sum() < _LEAST:
            return STILL.copy()
        motion, agree = cv2.estimateAffinePartial2D(
            corners[kept], moved[kept], method=cv2.RANSAC, ransacReprojThreshold=2.0
        )
        if motion is None or agree.sum() < _LEAST:
            return STILL.copy()
        motion[:, 2] /= ratio
        return motion
