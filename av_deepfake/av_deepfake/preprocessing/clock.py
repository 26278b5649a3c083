"""One clock for picture and sound: frames at 25 per second by their time stamps, sound samples from the same second on.

Never an average rate, never an index: an AVI may report a rate of 600, and 30 frames a second taken by their index drift by
two seconds in ten. The clock starts at the first frame of the picture.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from shared_utils.video import Frame, read_sound

FPS, RATE = 25, 16_000
SAMPLES = RATE // FPS
"""Sound samples a frame."""


class Shown(NamedTuple):
    """What is seen at a tick of the clock. index: of the frame in the file. image: RGB uint8 (H, W, 3)."""

    index: int
    image: np.ndarray


@dataclass
class Ticks:
    """What the clock met. first, last: time stamps of the first and the last frame [s]. frames: that could be decoded.
    ticks: frames at 25 per second. repeated: ticks that show the same frame as the one before."""

    first: float = 0.0
    last: float = 0.0
    frames: int = 0
    ticks: int = 0
    repeated: int = 0

    @property
    def fps(self) -> float:
        """Frames per second by the time stamps; 25 of a single one."""
        return (
            (self.frames - 1) / (self.last - self.first) if self.frames > 1 and self.last > self.first else float(FPS)
        )


def ticks(frames: Iterable[Frame], met: Ticks) -> Iterator[Shown]:
    """The frame that is nearest in time to each tick, the earlier one of two; an error of half a frame at most.

    Args:
        frames: of a source; those that cannot be decoded are left out.
        met: filled on the way.
    """
    waiting: Frame | None = None
    for frame in frames:
        if frame.image is None:
            continue
        if waiting is None:
            met.first = frame.time
        else:
            yield from _until(waiting, (waiting.time + frame.time) / 2, met)
        met.frames, met.last, waiting = met.frames + 1, frame.time, frame
    if waiting is not None:
        yield from _until(waiting, waiting.time + 0.5 / FPS, met)


def _until(frame: Frame, time: float, met: Ticks) -> Iterator[Shown]:
    shown = 0
    assert frame.image is not None
    # Half a millisecond: containers round their time stamps.
    while met.first + met.ticks / FPS <= time + 5e-4:
        yield Shown(frame.index, frame.image)
        met.ticks += 1
        met.repeated += shown > 0
        shown += 1


def sound_between(path: str | Path, first: float, start: float, seconds: float) -> tuple[np.ndarray, float, float]:
    """The sound of a stretch of the clock, 16 kHz mono, zeros where there is none.

    Args:
        path: the file.
        first: the time stamp at which the clock starts.
        start, seconds: the stretch, on the clock.

    Returns:
        samples (round(seconds * 16000),) float32, and the seconds on the clock at which its sound begins and ends.

    Raises:
        UserError: the file has no sound there that can be decoded.
    """
    low = first + start
    samples, _, time = read_sound(path, RATE, start=max(0.0, low), stop=low + seconds)
    placed = np.zeros(round(seconds * RATE), np.float32)
    offset = round((time - low) * RATE)
    part = samples[max(0, -offset) : max(0, len(placed) - offset)]
    placed[max(0, offset) : max(0, offset) + len(part)] = part
    return placed, time - first, time - first + len(samples) / RATE
