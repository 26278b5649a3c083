"""The procedural street: persons seen by several cameras, with the identity labels that a tracker would have given them.

The default data of every command that trains. Clothes share few colours and every camera changes them its own way, so that
a colour histogram does not find a person again in another camera. The labels of the training crops are noisy as a
tracker's are: a clip, or its second part, gets an id of its own (fragment), or from some frame on shows a look-alike under the
old id (switch). Everything follows from the seed; validation and test show other persons to the same cameras.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np

from luperson_nl.data.street_people import People, draw_people, look_alikes
from luperson_nl.data.street_rendering import VIEWS, Camera, Shots, render
from shared_utils import UserError

FRAGMENT, SWITCH, LOOK_ALIKES = 0.3, 0.35, 5
_CAMERAS, _TRAIN, _VALIDATION, _TEST = range(4)
_OCCLUDED = 0.25


@dataclass(frozen=True)
class Crops:
    """Crops of one split, n of them.

    ``images``: (n, h, w, 3) uint8 RGB; ``labels``: (n,) int64, 0..C-1, the tracker's; ``true``: the person who is seen;
    ``cameras``; ``clips``: one a person and camera.
    """

    images: np.ndarray
    labels: np.ndarray
    true: np.ndarray
    cameras: np.ndarray
    clips: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, rows: np.ndarray) -> Crops:
        return Crops(*(getattr(self, field.name)[rows] for field in fields(self)))

    @property
    def num_classes(self) -> int:
        """C."""
        return int(self.labels.max()) + 1


@dataclass(frozen=True)
class Street:
    """What is drawn; a method called again draws the same again.

    Args:
        seed: of cameras, persons, pictures and noise.
        persons: of the training split.
        size: height and width of a crop in pixels.
        cameras: their number.
        noise: of the labels: 1 is the default tracker, 0 none, other values multiply the chances of fragment and switch.
        clip: the least and the most crops of a clip.
    """

    seed: int = 0
    persons: int = 120
    size: tuple[int, int] = (64, 32)
    cameras: int = 5
    noise: float = 1.0
    clip: tuple[int, int] = (4, 8)

    def __post_init__(self) -> None:
        if self.persons < LOOK_ALIKES + 1 or self.cameras < 2:
            raise UserError(
                f"a street needs at least {LOOK_ALIKES + 1} persons and 2 cameras, got {self.persons} and {self.cameras}"
            )
        if not 0 <= self.noise <= 1 / SWITCH:
            raise UserError(f"the street's noise {self.noise:g} is outside 0 to {1 / SWITCH:.2f}")
        if min(self.size) < 8 or not 2 <= self.clip[0] <= self.clip[1]:
            raise UserError(f"a street of crops of {self.size} pixels in clips of {self.clip} cannot be drawn")

    def train(self) -> Crops:
        """The training crops, with noisy labels."""
        return self._crops(self.persons, _TRAIN, self.noise)

    def validation(self, persons: int = 60) -> tuple[Crops, Crops]:
        """Query and gallery of persons that occur nowhere else, with true labels."""
        return self._retrieval(persons, _VALIDATION)

    def test(self, persons: int = 60) -> tuple[Crops, Crops]:
        """Query and gallery of persons that occur nowhere else, with true labels."""
        return self._retrieval(persons, _TEST)

    def _draw(self, *stream: int) -> np.random.Generator:
        return np.random.default_rng((self.seed, *stream))

    @cached_property
    def _seen(self) -> list[Camera]:
        views = [number % len(VIEWS) for number in range(self.cameras)]
        return [Camera(self._draw(_CAMERAS, number), view, self.size[0]) for number, view in enumerate(views)]

    def _retrieval(self, persons: int, split: int) -> tuple[Crops, Crops]:
        """One crop of every clip asks, the others are searched."""
        crops = self._crops(persons, split, 0.0)
        first = np.r_[True, np.diff(crops.clips) > 0]
        return crops[first], crops[~first]

    def _crops(self, persons: int, split: int, noise: float) -> Crops:
        people = draw_people(persons, self._draw(split, 0))
        lengths = self._draw(split, 1).integers(self.clip[0], self.clip[1] + 1, size=persons * self.cameras)
        clips = np.repeat(np.arange(len(lengths)), lengths)
        place = np.arange(len(clips)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        owner, cameras = np.divmod(clips, self.cameras)
        labels, true = _tracked(people, owner, clips, place, lengths, noise, self._draw(split, 2))
        rng = self._draw(split, 3)
        shots = _shots(clips, place, len(lengths), self.size, rng)
        images = render(people[true], self._seen, cameras, shots, self.size, rng)
        return Crops(images, labels, true, cameras, clips)


def _tracked(
    people: People,
    owner: np.ndarray,
    clips: np.ndarray,
    place: np.ndarray,
    lengths: np.ndarray,
    noise: float,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Labels and true persons of all crops after fragments and switches, each (n,) int64."""
    count = len(lengths)
    alike = look_alikes(people, LOOK_ALIKES)
    first = np.cumsum(lengths) - lengths
    switched = rng.random(count) < SWITCH * noise
    other = alike[owner[first], rng.integers(LOOK_ALIKES, size=count)]
    start = rng.integers(1, lengths)
    true = np.where(switched[clips] & (place >= start[clips]), other[clips], owner)
    fragment = rng.random(count) < FRAGMENT * noise
    start = np.where(rng.random(count) < 0.5, 0, rng.integers(1, lengths))
    labels = np.where(fragment[clips] & (place >= start[clips]), len(people) + clips, owner)
    return np.unique(labels, return_inverse=True)[1].astype(np.int64), true.astype(np.int64)


def _shots(clips: np.ndarray, place: np.ndarray, count: int, size: tuple[int, int], rng: np.random.Generator) -> Shots:
    """Gait, jitter, background and occluder of every crop; what belongs to a clip is drawn once for it."""
    n, (height, width) = len(clips), size
    phase = rng.uniform(0, 2 * np.pi, count)[clips] + 0.9 * place
    facing = np.where(rng.random(count) < 0.5, -1.0, 1.0)[clips]
    # A person walks past the background.
    travel = 4 * height - width - 1
    left = (rng.integers(0, travel, count)[clips] + facing * place * height / 10) % travel
    top = rng.integers(height // 4, 3 * height // 4, count)[clips]
    # Something in front hides the legs, or one side.
    aspect = width / height
    low, wide = rng.uniform(0.55, 0.8, count), rng.uniform(0.15, 0.4, count) * aspect
    kind = rng.integers(3, size=count)
    x0, x1 = np.where(kind == 2, aspect / 2 - wide, -aspect), np.where(kind == 1, wide - aspect / 2, aspect)
    y0 = np.where(kind == 0, low, -1.0)
    hidden = rng.random(count) < _OCCLUDED
    occluder = np.stack([x0, y0, np.where(hidden, x1, x0), np.full(count, 2.0)], 1)[clips]
    drift = rng.normal(0, 0.02, (n, 2))
    occluder += np.concatenate([drift, drift], 1)
    single = np.float32
    return Shots(
        phase.astype(single),
        facing.astype(single),
        rng.normal(0, 0.025, (n, 2)).astype(single),
        rng.uniform(0.88, 1.06, n).astype(single),
        np.stack([left, top], 1).astype(np.int64),
        occluder.astype(single),
        (rng.uniform(0.2, 0.7, (count, 1)) + rng.uniform(-0.1, 0.1, (count, 3)))[clips].astype(single),
        rng.uniform(0.9, 1.1, count)[clips].astype(single),
    )
