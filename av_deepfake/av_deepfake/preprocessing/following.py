"""One face through a video: looked for every few frames, its points interpolated between, broken off at cuts.

Only the frames since the last look are held, so memory does not grow with the length of the video.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from av_deepfake.landmarks.found import Detector, Faces
from av_deepfake.preprocessing.clock import Shown
from av_deepfake.preprocessing.mouth_crop import interpolated

GAP = 25
"""Frames without a face that are interpolated over; a longer gap has no points."""
CUT = 45.0
"""Grey levels by which the thumbnails of two frames differ on average when they show two scenes."""


class Followed(NamedTuple):
    """A frame, the points of its face (n, 2) or None, and the number of the uncut stretch that it belongs to."""

    shown: Shown
    points: np.ndarray | None
    segment: int


@dataclass
class Looks:
    """What happened on the way: looks, those without a face, frames filled beyond the planned interpolation, the most
    faces at once, and cuts."""

    looks: int = 0
    missed: int = 0
    filled: int = 0
    most_faces: int = 0
    cuts: int = 0


class _Look(NamedTuple):
    number: int
    box: np.ndarray
    points: np.ndarray


def follow(frames: Iterable[Shown], detector: Detector, looks: Looks, face: int = 0) -> Iterator[Followed]:
    """The face of each frame: of several the one that is asked for, then the one that goes on from it.

    Args:
        frames: at 25 per second.
        detector: what looks for faces.
        looks: filled on the way.
        face: which one a stretch begins with: 0 the largest, n the n-th from the left. Where there are fewer, that look
            has found none.
    """
    waiting: list[Shown] = []  # frames after the last look that found the face
    last: _Look | None = None
    segment, thumbnail = 0, None
    for number, shown in enumerate(frames):
        small = _thumbnail(shown.image)
        cut = thumbnail is not None and float(np.abs(small - thumbnail).mean()) > CUT
        thumbnail = small
        if cut:
            yield from _held(waiting, last, segment, detector, looks)
            waiting, last, segment = [], None, segment + 1
            looks.cuts += 1
        waiting.append(shown)
        if number % detector.every and not cut:
            continue
        found = detector.find(shown.image)
        looks.looks += 1
        looks.most_faces = max(looks.most_faces, len(found.boxes))
        goes_on = _next(found, last)
        which = _first(found, face) if goes_on is None else goes_on
        if which is None:
            looks.missed += 1
            if len(waiting) > GAP:
                yield from _held(waiting, None, segment, detector, looks)
                waiting, last, segment = [], None, segment + 1
            continue
        look = _Look(number, found.boxes[which], found.points[which])
        if last is not None and goes_on is None:  # another face, or a jump
            yield from _held(waiting[:-1], last, segment, detector, looks)
            waiting, last, segment = waiting[-1:], None, segment + 1
        yield from _between(waiting, last, look, segment, detector, looks)
        waiting, last = [], look
    yield from _held(waiting, last, segment, detector, looks)


def _between(
    waiting: list[Shown], before: _Look | None, look: _Look, segment: int, detector: Detector, looks: Looks
) -> Iterator[Followed]:
    """The frames up to a look, on a line between the two; those before the first look take its points."""
    count = len(waiting)
    looks.filled += max(0, count - detector.every)
    for place, shown in enumerate(waiting, start=1):
        share = place / count
        points = look.points if before is None else (1 - share) * before.points + share * look.points
        yield Followed(shown, detector.refine(shown.image, points), segment)


def _held(
    waiting: list[Shown], last: _Look | None, segment: int, detector: Detector, looks: Looks
) -> Iterator[Followed]:
    """Frames after the last look; with no look to go by they have no points."""
    if last is not None and len(waiting) >= detector.every:
        looks.filled += len(waiting)
    for shown in waiting:
        yield Followed(shown, None if last is None else detector.refine(shown.image, last.points), segment)


def _first(found: Faces, face: int) -> int | None:
    """The face that a stretch begins with; None where it is not there."""
    if len(found.boxes) < max(face, 1):
        return None
    return int((found.boxes[:, 0] + found.boxes[:, 2]).argsort(kind="stable")[face - 1]) if face else 0


def _next(found: Faces, last: _Look | None) -> int | None:
    """The face that goes on from the last one; None where none does, and one begins anew."""
    if last is None or not len(found.boxes):
        return None
    side = np.sqrt(np.prod(last.box[2:] - last.box[:2]))
    middles = (found.boxes[:, :2] + found.boxes[:, 2:]) / 2
    away = np.linalg.norm(middles - (last.box[:2] + last.box[2:]) / 2, axis=1) / side
    sides = np.sqrt(np.prod(found.boxes[:, 2:] - found.boxes[:, :2], axis=1))
    away[np.abs(np.log(sides / side)) > np.log(1.6)] = np.inf
    return int(away.argmin()) if away.min() < 0.5 else None


def _thumbnail(image: np.ndarray) -> np.ndarray:
    """(18, 32, 3) float32: enough to notice a cut. A quarter of the pixels gives the same mean over blocks."""
    step = max(1, min(image.shape[:2]) // 72)
    return cv2.resize(image[::step, ::step], (32, 18), interpolation=cv2.INTER_AREA).astype(np.float32)


def given(frames: Iterable[Shown], points: list[np.ndarray | None], looks: Looks) -> Iterator[Followed]:
    """Frames with points that are known already, by the number of the frame in the file.

    Frames without points lie on a line between their neighbours, in gaps of a second of frames at most; a longer gap has
    no points. Beyond the end of the list its last points go on.
    """
    known = [number for number, one in enumerate(points) if one is not None]
    filled = interpolated(points)
    missing = np.diff([-1, *known, len(points)]) - 1
    gaps = {number: gap for number, gap in zip([*known, len(points)], missing, strict=True) if gap}
    covered = np.ones(len(points), bool)
    for stop, gap in gaps.items():
        covered[stop - gap : stop] = gap <= GAP
    segments = np.cumsum(np.diff(covered.astype(int), prepend=1) != 0)
    for shown in frames:
        number = min(shown.index, len(points) - 1)
        looks.looks += 1
        looks.most_faces = 1
        if points[number] is None:
            looks.missed += 1
            looks.filled += int(covered[number])
        yield Followed(shown, filled[number] if covered[number] else None, int(segments[number]))
