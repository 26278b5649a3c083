"""Who walks on the procedural street: what persons wear, and who looks like whom."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

COLOURS = (
    np.array(
        [
            (24, 24, 28),
            (226, 226, 222),
            (122, 124, 128),
            (178, 36, 40),
            (42, 84, 172),
            (26, 36, 84),
            (44, 118, 66),
            (214, 184, 52),
            (104, 70, 44),
            (198, 172, 132),
            (146, 66, 138),
        ],
        np.float32,
    )
    / 255
)
"""(11, 3) RGB, the colours that all clothes share."""
SKIN = np.array([(0.88, 0.69, 0.57), (0.70, 0.51, 0.38), (0.42, 0.29, 0.21)], np.float32)
HAIR = np.array([(0.09, 0.07, 0.06), (0.32, 0.20, 0.12), (0.70, 0.56, 0.32), (0.60, 0.60, 0.60)], np.float32)
PATTERNS = ("plain", "hoops", "stripes", "checks", "diagonal", "dots")
PERIODS = (0.07, 0.11, 0.17)
"""Of a pattern, as a share of the body's height."""
BAGS = ("none", "backpack", "shoulder bag", "handbag")


@dataclass
class People:
    """Attributes of n persons, each (n,): indices into the tables of this module, or numbers."""

    top: np.ndarray
    second: np.ndarray
    pattern: np.ndarray
    period: np.ndarray
    bottom: np.ndarray
    sleeves: np.ndarray
    skirt: np.ndarray
    bag: np.ndarray
    bag_colour: np.ndarray
    hat: np.ndarray
    hat_colour: np.ndarray
    shoes: np.ndarray
    skin: np.ndarray
    hair: np.ndarray
    build: np.ndarray

    def __len__(self) -> int:
        return len(self.top)

    def __getitem__(self, rows: np.ndarray) -> People:
        return People(*(getattr(self, field.name)[rows] for field in fields(self)))


def draw_people(count: int, rng: np.random.Generator) -> People:
    """``count`` persons dressed at random; a pattern's second colour differs from its first."""
    colours = len(COLOURS)
    top = rng.integers(colours, size=count)
    return People(
        top=top,
        second=(top + rng.integers(1, colours, size=count)) % colours,
        pattern=rng.integers(len(PATTERNS), size=count),
        period=rng.integers(len(PERIODS), size=count),
        bottom=rng.integers(colours, size=count),
        sleeves=rng.random(count) < 0.5,
        skirt=rng.random(count) < 0.25,
        bag=rng.integers(len(BAGS), size=count),
        bag_colour=rng.integers(colours, size=count),
        hat=rng.random(count) < 0.25,
        hat_colour=rng.integers(colours, size=count),
        shoes=rng.integers(colours, size=count),
        skin=rng.integers(len(SKIN), size=count),
        hair=rng.integers(len(HAIR), size=count),
        build=rng.uniform(0.82, 1.22, size=count).astype(np.float32),
    )


def look_alikes(people: People, count: int) -> np.ndarray:
    """The ``count`` persons that look most like each one: (n, count) indices, nearest first."""
    plain = people.pattern == 0
    mean = np.where(plain[:, None], COLOURS[people.top], (COLOURS[people.top] + COLOURS[people.second]) / 2)
    described = np.concatenate(
        [
            2 * mean,
            2 * COLOURS[people.bottom],
            0.4 * (people.pattern[:, None] == np.arange(len(PATTERNS))),
            0.4 * (people.bag[:, None] == np.arange(len(BAGS))),
            0.4 * np.stack([people.sleeves, people.skirt, people.hat], 1),
            people.build[:, None],
        ],
        axis=1,
    )
    distance = ((described[:, None] - described[None]) ** 2).sum(2)
    np.fill_diagonal(distance, np.inf)
    return np.argsort(distance, axis=1, kind="stable")[:, :count]
