"""Where the shots of a film begin, and which frames only repeat the one before.

A cut is inferred from a change of the picture that neither motion nor brightness explains, and that lasts: after a flash, a
splice mark or a torn frame the old shot returns.
"""

from __future__ import annotations

import csv
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from shared_utils import UserError, files

THUMBNAIL = 96
"""Pixels of the shorter side of what cuts are searched in."""
FLASH = 2
"""Frames after which the old shot must be back for an interruption to be a flash."""
_FLOOR, _FACTOR, _WINDOW = 0.5, 2.5, 24
_BLOCK = 16


@dataclass
class Shots:
    """starts: first frame of every shot, beginning with 0. length: frames of the film. repeats: for every frame the
    frame that it repeats (itself, where it repeats none). scores: change from the frame before, 0 to about 1.4."""

    starts: list[int] = field(default_factory=lambda: [0])
    length: int = 0
    repeats: list[int] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)

    def spans(self) -> list[tuple[int, int]]:
        """(first, end) of every shot."""
        return list(zip(self.starts, [*self.starts[1:], self.length], strict=True))

    def shot_of(self, index: int) -> int:
        """The number of the shot that a frame belongs to."""
        return bisect_right(self.starts, index) - 1


def find_shots(lumas: Iterable[np.ndarray], cuts: bool = True, repeats: bool = True) -> Shots:
    """Go through a film once.

    lumas: (h, w) of each frame, 8 bits or more, float32 in [-1, 1]. Memory does not grow with the film beyond two
    numbers a frame.
    """
    shots = Shots()
    recent: list[np.ndarray] = []  # thumbnails of the frames around the one that is examined
    candidates: list[int] = []
    original, original_index = None, 0
    for index, luma in enumerate(lumas):
        shots.length = index + 1
        if repeats and original is not None and is_repeat(original, luma):
            shots.repeats.append(original_index)
        else:
            original, original_index = luma, index
            shots.repeats.append(index)
        if not cuts:
            continue
        recent.append(thumbnail(luma))
        score = change(recent[-2], recent[-1]) if index else 0.0
        shots.scores.append(score)
        recent = recent[-(2 * FLASH + 2) :]
        # Judged FLASH frames later, when it is known whether the old shot comes back.
        if index >= FLASH:
            candidates += _lasting_cut(shots.scores, recent, index - FLASH, FLASH)
    for late in range(max(1, shots.length - FLASH), shots.length if cuts else 0):
        candidates += _lasting_cut(shots.scores, recent, late, shots.length - 1 - late)
    shots.starts = [0, *candidates]
    shots.repeats = within_shots(shots)
    return shots


def within_shots(shots: Shots) -> list[int]:
    """The repeats, but that nothing is repeated over a cut."""
    return [
        index if original < shots.starts[shots.shot_of(index)] else original
        for index, original in enumerate(shots.repeats)
    ]


def _lasting_cut(scores: list[float], recent: list[np.ndarray], index: int, ahead: int) -> Iterator[int]:
    """``index`` if a shot begins there. recent: thumbnails up to ``index + ahead``."""
    around = scores[max(1, index - _WINDOW) : index] + scores[index + 1 : index + 1 + ahead]
    if index == 0 or scores[index] < max(_FLOOR, _FACTOR * float(np.median(around or [0.0]))):
        return
    at = len(recent) - 1 - ahead
    before = recent[max(0, at - 1 - FLASH) : at]
    after = recent[at : at + 1 + FLASH]
    # Frames b before and a after the change, at most FLASH frames apart from each other: if any pair fits together, the
    # change was an interruption.
    threshold = 0.7 * scores[index]
    for back, old in enumerate(reversed(before)):
        for forth, new in enumerate(after):
            if 0 < back + forth <= FLASH and change(old, new) < max(_FLOOR, threshold):
                return
    yield index


def thumbnail(luma: np.ndarray) -> np.ndarray:
    """(about 96 pixels on the shorter side) uint8, brightness and contrast made equal, slightly blurred."""
    scale = THUMBNAIL / min(luma.shape)
    size = [max(16, round(side * scale)) for side in luma.shape[::-1]]
    small = cv2.resize(luma, size, interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), 1.0)
    small = (small - small.mean()) / max(float(small.std()), 0.02)
    return (127.5 + 50 * small).clip(0, 255).astype(np.uint8)


def change(a: np.ndarray, b: np.ndarray) -> float:
    """How little of thumbnail b is explained by a having moved: 0 the same picture, about 1 unrelated ones.

    The part of the variance of b that is left after a, or b, is moved along the flow between them, whichever direction
    explains more, plus a share for the distance of the histograms.
    """
    dis: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    height, width = b.shape
    y, x = np.mgrid[:height, :width].astype(np.float32)
    left = []
    for source, target in ((a, b), (b, a)):
        flow = dis.calc(target, source, None)
        moved = cv2.remap(source, x + flow[..., 0], y + flow[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        difference = np.abs(moved.astype(np.float32) - target)
        left.append(float(difference.mean() / max(np.abs(target - float(target.mean())).mean(), 1.0)))
    histograms = [np.histogram(image, 32, (0, 256))[0] / image.size for image in (a, b)]
    return min(left) + 0.4 * 0.5 * float(np.abs(histograms[0] - histograms[1]).sum())


def is_repeat(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether frame b shows frame a again, but for what compression changes.

    a, b: (h, w) float32 in [-1, 1]. Two exposures differ by their grain almost everywhere, a repeat almost nowhere; dirt or
    motion on one of them only makes at least one block differ by more than a coarse quantiser does.
    """
    levels = np.abs(a - b) * 127.5
    if float(levels.mean()) > 0.75:
        return False
    height, width = (side // _BLOCK * _BLOCK for side in b.shape)
    if not height or not width:
        return float(levels.max()) <= 3
    blocks = levels[:height, :width].reshape(height // _BLOCK, _BLOCK, width // _BLOCK, _BLOCK).mean((1, 3))
    return float(np.median(blocks)) <= 0.3 and float(blocks.max()) <= 5


def write_cuts(shots: Shots, path: str | Path) -> None:
    """A CSV with the columns shot, first_frame, frames and score."""
    with files.replacing(path) as temporary, temporary.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["shot", "first_frame", "frames", "score"])
        for number, (first, end) in enumerate(shots.spans()):
            score = f"{shots.scores[first]:.3f}" if first and shots.scores else ""
            rows.writerow([number, first, end - first, score])


def read_cuts(path: str | Path, length: int) -> list[int]:
    """First frames of the shots, from a CSV of ``write_cuts`` or from one frame number a line; 0 is always one.

    Raises UserError naming the line that is not a frame number of a film of ``length`` frames.
    """
    lines = [line for line in csv.reader(Path(path).read_text().splitlines()) if line]
    header = lines[0] if lines and not lines[0][0].strip().isdigit() else None
    if header and "first_frame" not in header:
        raise UserError(f"{path}: no column first_frame; write one frame number a line, or a header that names it")
    column = header.index("first_frame") if header else 0
    starts = {0}
    for number, line in enumerate(lines[bool(header) :], start=1 + bool(header)):
        text = line[column].strip() if column < len(line) else ""
        if not text.isdigit() or int(text) >= length:
            raise UserError(f"{path}, line {number}: {text!r} is not a frame of this film (0 to {length - 1})")
        starts.add(int(text))
    return sorted(starts)
