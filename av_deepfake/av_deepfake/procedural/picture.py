"""The picture of an articulation: lips, cavity, teeth, tongue, skin and shadows, drawn with soft edges."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from av_deepfake.procedural.speakers import Speakers

_CHUNK = 8
BOX = (0.26, 0.84, 0.14, 0.86)
"""The mouth's box: top, bottom, left, right, as shares of the side. What a manipulation touches."""


class Motion(NamedTuple):
    """(n, t) each: jaw of the lower lip and of the upper one, spread; ``head`` (n, t, 3): shift right and down in
    shares of the side, zoom - 1."""

    jaw: np.ndarray
    upper: np.ndarray
    spread: np.ndarray
    head: np.ndarray


def draw(speakers: Speakers, motion: Motion, size: int) -> np.ndarray:
    """Pictures of mouths.

    Args:
        speakers: n, one a clip.
        motion: of each clip.
        size: side in pixels.

    Returns:
        (n, t, size, size) float32, 0 black..1.
    """
    parts = []
    for start in range(0, len(motion.jaw), _CHUNK):
        rows = slice(start, start + _CHUNK)
        parts.append(_draw(speakers[rows], Motion(*(values[rows] for values in motion)), size))
    return np.concatenate(parts)


def _draw(speakers: Speakers, motion: Motion, size: int) -> np.ndarray:
    def column(values: np.ndarray) -> np.ndarray:  # (n, t) or (n,) -> (n, t, 1, 1)
        values = np.asarray(values, np.float32)
        return values.reshape(len(values), -1, 1, 1)

    def step(distance: np.ndarray) -> np.ndarray:  # 0 before an edge, 1 behind it, a pixel wide
        distance = distance * np.float32(size)
        distance += np.float32(0.5)
        return np.clip(distance, 0, 1, out=distance)

    def bump(distance: np.ndarray) -> np.ndarray:
        return np.exp(-np.square(distance))

    axis = ((np.arange(size) + 0.5) / size - 0.5).astype(np.float32)
    zoom = 1 + column(motion.head[..., 2])
    x = (axis - column(motion.head[..., 0])) / zoom  # (n, t, 1, size)
    y = (axis[:, None] - 0.06 - column(motion.head[..., 1])) / zoom  # (n, t, size, 1), 0 at the corners of the mouth
    jaw, upper, spread = column(motion.jaw), column(motion.upper), column(motion.spread)
    opening, thickness = column(speakers.opening), column(speakers.thickness)

    half = column(speakers.width) * (1 + 0.18 * spread - 0.1 * jaw)
    across = x / half
    arch = np.sqrt(np.clip(1 - np.square(across), 0, 1))
    line = -0.025 * spread * np.square(across) + column(speakers.asymmetry) * across
    top = line - 0.25 * opening * upper * arch
    bottom = line + 0.75 * opening * jaw * arch
    within = step(half - np.abs(x))
    lips = within * step(y - (top - thickness * arch)) * step(bottom + 1.2 * thickness * arch - y)
    cavity = within * step(y - top) * step(bottom - y)

    skin = _skin(speakers, x, y)
    skin -= 0.10 * bump((y - 0.32 - 0.14 * jaw) / 0.07) * bump(x / 0.35)  # below the chin
    skin -= 0.12 * bump((y + 0.46) / 0.06) * bump(x / 0.16)  # below the nose
    hair = column(speakers.moustache)
    if hair.any():
        skin -= hair * 0.45 * bump((y - top + thickness + 0.07) / 0.06) * bump(x / 0.26)
    shine = 0.12 * bump((y - bottom - 0.6 * thickness) / (0.4 * thickness)) * bump(across / 0.5)
    skin += lips * (column(speakers.lips) + shine - skin)
    inside = 0.08 + 0.3 * bump((y - bottom + 0.02) / 0.05) * bump(across / 0.5)  # the tongue
    show = np.clip(spread, 0, 1) * np.clip((jaw - 0.2) / 0.3, 0, 1)
    inside += step(top + 0.04 - y) * (show * (column(speakers.teeth) - inside))
    skin += cavity * (inside - skin)
    return np.clip(skin, 0, 1, out=skin)


def _skin(speakers: Speakers, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    def column(values: np.ndarray) -> np.ndarray:
        return np.asarray(values, np.float32).reshape(-1, 1, 1, 1)

    skin = column(speakers.skin) + column(speakers.gradient[:, 0]) * x + column(speakers.gradient[:, 1]) * y
    for right, down, phase, other in np.moveaxis(speakers.texture, 2, 0).transpose(0, 2, 1):
        skin = skin + 0.018 * np.sin(column(right) * x + column(phase)) * np.sin(column(down) * y + column(other))
    return np.ascontiguousarray(skin)


def head_motion(rng: np.random.Generator, frames: int) -> np.ndarray:
    """A head that is never quite still: (frames, 3), smooth, about 1.5 % of the side and 2 % of zoom."""
    knots = np.cumsum(rng.normal(0, 1, (frames // 6 + 4, 3)), 0)
    times = np.arange(frames) / 6 + rng.random()
    low = times.astype(int)
    along = (1 - np.cos(np.pi * (times - low)))[:, None] / 2
    path = knots[low] * (1 - along) + knots[low + 1] * along
    return (path - path.mean(0)) * np.array([0.006, 0.006, 0.006])
