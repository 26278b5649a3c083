"""Who speaks: face and voice, drawn by the number of the speaker."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

WAVES = 4
"""Of the skin's texture."""


@dataclass(frozen=True)
class Speakers:
    """One row a speaker. Lengths are shares of the picture's side, brightness is 0..1, ``voice`` in Hz."""

    width: np.ndarray
    thickness: np.ndarray
    opening: np.ndarray
    asymmetry: np.ndarray
    skin: np.ndarray
    lips: np.ndarray
    gradient: np.ndarray
    teeth: np.ndarray
    moustache: np.ndarray
    texture: np.ndarray
    voice: np.ndarray
    tract: np.ndarray
    tilt: np.ndarray

    def __getitem__(self, rows: np.ndarray | slice) -> Speakers:
        return Speakers(*(getattr(self, field.name)[rows] for field in fields(self)))


def draw_speakers(seed: int, numbers: np.ndarray) -> Speakers:
    """Parameters of speakers; each depends on the seed and on its own number alone."""
    return Speakers(*(np.array(column) for column in zip(*(_draw(seed, int(n)) for n in numbers), strict=True)))


def _draw(seed: int, number: int) -> tuple:
    rng = np.random.default_rng([seed, 1, number])
    skin = rng.uniform(0.42, 0.75)
    texture = np.stack([rng.uniform(4, 40, WAVES), rng.uniform(4, 40, WAVES), *rng.uniform(0, 2 * np.pi, (2, WAVES))])
    return (
        rng.uniform(0.24, 0.32),
        rng.uniform(0.05, 0.085),
        rng.uniform(0.18, 0.25),
        rng.uniform(-0.02, 0.02),
        skin,
        skin * rng.uniform(0.55, 0.8),
        rng.uniform(-0.15, 0.15, 2),
        rng.uniform(0.7, 0.95),
        rng.uniform(0.3, 0.6) * (rng.random() < 0.2),
        texture,
        rng.uniform(90, 240),
        rng.uniform(0.85, 1.15),
        rng.uniform(0.3, 0.8),
    )
