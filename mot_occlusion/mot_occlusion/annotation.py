"""Tracks drawn into frames: boxes with numbers and trails, recovered people dashed, occlusion centres as crosses."""

from __future__ import annotations

import colorsys
from collections import deque

import cv2
import numpy as np

from mot_occlusion.tracking import LOST, Tracks

TRAIL = 40
_DASH = 6


def colour_of(identity: int) -> tuple[int, int, int]:
    """The RGB colour of an identity; neighbouring numbers are far apart in hue."""
    hue = identity * 0.618034 % 1
    red, green, blue = (round(255 * value) for value in colorsys.hsv_to_rgb(hue, 0.75, 0.95))
    return red, green, blue


class Annotator:
    """Draws frame after frame and remembers where people came from (their last 40 feet positions)."""

    def __init__(self) -> None:
        self._trails: dict[int, deque] = {}

    def draw(self, image: np.ndarray, tracks: Tracks, centres: np.ndarray | None = None) -> np.ndarray:
        """A copy of the RGB frame (H, W, 3) with its tracks and the occlusion centres (M, 2)."""
        canvas = image.copy()
        thick = max(1, round(image.shape[0] / 400))
        present = set(tracks.ids.tolist())
        # Only people in the picture have a trail, so that an endless stream does not fill the memory.
        self._trails = {identity: trail for identity, trail in self._trails.items() if identity in present}
        for identity, box, state in zip(tracks.ids.tolist(), tracks.boxes, tracks.states, strict=True):
            colour = colour_of(identity)
            x1, y1, x2, y2 = (round(value) for value in box)
            trail = self._trails.setdefault(identity, deque(maxlen=TRAIL))
            trail.append(((x1 + x2) // 2, y2))
            cv2.polylines(canvas, [np.array(trail, dtype=np.int32)], False, colour, thick, cv2.LINE_AA)
            if state == LOST:
                _dashed(canvas, (x1, y1, x2, y2), colour, thick)
            else:
                cv2.rectangle(canvas, (x1, y1), (x2, y2), colour, thick, cv2.LINE_AA)
            _label(canvas, f"{identity}?" if state == LOST else f"{identity}", (x1, y1), colour, thick)
        for x, y in np.empty((0, 2)) if centres is None else centres:
            cv2.drawMarker(canvas, (int(x), int(y)), (255, 255, 255), cv2.MARKER_TILTED_CROSS, 8 * thick, thick)
        return canvas


def _dashed(canvas: np.ndarray, box: tuple[int, int, int, int], colour: tuple[int, int, int], thick: int) -> None:
    x1, y1, x2, y2 = box
    for start in range(x1, x2, 2 * _DASH):
        for y in (y1, y2):
            cv2.line(canvas, (start, y), (min(start + _DASH, x2), y), colour, thick)
    for start in range(y1, y2, 2 * _DASH):
        for x in (x1, x2):
            cv2.line(canvas, (x, start), (x, min(start + _DASH, y2)), colour, thick)


def _label(canvas: np.ndarray, text: str, corner: tuple[int, int], colour: tuple[int, int, int], thick: int) -> None:
    scale = max(0.35, canvas.shape[0] / 1200)
    (width, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, thick)
    x, y = corner[0], max(height + 4, corner[1])
    cv2.rectangle(canvas, (x, y - height - 4), (x + width + 2, y), colour, -1)
    cv2.putText(canvas, text, (x + 1, y - 3), cv2.FONT_HERSHEY_SIMPLEX, scale, (20, 20, 20), thick, cv2.LINE_AA)
