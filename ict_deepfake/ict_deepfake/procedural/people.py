"""Who the parametric people are: two parameter vectors a person, related through a latent that both share (spec 3.5)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

LATENT = 6
INNER = (
    "eye_spacing",
    "eye_height",
    "eye_width",
    "eye_openness",
    "eye_tilt",
    "iris_lightness",
    "iris_hue",
    "brow_lightness",
    "brow_thickness",
    "brow_height",
    "brow_slope",
    "nose_length",
    "nose_width",
    "mouth_width",
)
OUTER = (
    "hair_lightness",
    "hair_redness",
    "hair_width",
    "hair_height",
    "hair_length",
    "skin",
    "neck_width",
    "face_width",
    "face_height",
    "jaw_exponent",
    "chin_taper",
    "ear_height",
)
_GAIN = 1.2
_MATRICES = 20220301  # the seed of the two fixed matrices, which are the same for every population


@dataclass(frozen=True)
class People:
    """Parameters of n persons, each in -1 to 1.

    Args:
        inner: (n, 14), columns ``INNER``: eyes, brows, nose, mouth.
        outer: (n, 12), columns ``OUTER``: hair, skin, contour, neck, ears.
    """

    inner: np.ndarray
    outer: np.ndarray

    def __len__(self) -> int:
        return len(self.inner)

    def __getitem__(self, rows: np.ndarray | slice) -> People:
        return People(self.inner[rows], self.outer[rows])


def chimeras(inner: People, outer: People) -> People:
    """Persons with the inner faces of one and the outer faces of the other."""
    return People(inner.inner, outer.outer)


def draw_people(count: int, private: float, rng: np.random.Generator) -> People:
    """Draw persons.

    ``p = tanh(1.2 sqrt(1 - r^2) A z + r e1)`` and ``q = tanh(1.2 sqrt(1 - r^2) B z + r e2)`` with z, e1, e2 normal.

    Args:
        count: of persons.
        private: r in 0 to 1, the share that inner and outer face do not have in common: only references can know it.
        rng: draws everything.
    """
    matrices = np.random.default_rng(_MATRICES)
    z = rng.standard_normal((count, LATENT))
    shared = _GAIN * np.sqrt(1 - private**2)

    def parameters(width: int) -> np.ndarray:
        mixing = matrices.standard_normal((width, LATENT)) / np.sqrt(LATENT)
        own = rng.standard_normal((count, width))
        return np.tanh(shared * (z[:, None] * mixing).sum(2) + private * own).round(6).astype(np.float32)

    return People(parameters(len(INNER)), parameters(len(OUTER)))
