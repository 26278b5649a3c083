"""What differs between two pictures of one parametric person: pose, expression, light, background (spec 3.5)."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np

GRID = 4


@dataclass(frozen=True)
class Conditions:
    """Of n pictures, each (n,) or (n, k).

    Lengths are shares of half the picture's side.

    Args:
        rotation: in the plane, radians.
        shift: (n, 2).
        scale: of the head.
        turn: (n, 2) yaw and pitch, as the parallax of the inner features.
        mouth_open: 0 to 1.
        brow_raise: -1 to 1.
        gain: of the light.
        balance: (n, 3) white balance.
        gradient: (n, 2) of the light over the picture.
        tint: (n, 3) added to the skin.
        background: (n, 3, GRID, GRID) colours that are interpolated over the picture.
    """

    rotation: np.ndarray
    shift: np.ndarray
    scale: np.ndarray
    turn: np.ndarray
    mouth_open: np.ndarray
    brow_raise: np.ndarray
    gain: np.ndarray
    balance: np.ndarray
    gradient: np.ndarray
    tint: np.ndarray
    background: np.ndarray

    def __len__(self) -> int:
        return len(self.rotation)

    def __getitem__(self, rows: np.ndarray | slice) -> Conditions:
        return Conditions(*(getattr(self, field.name)[rows] for field in fields(self)))

    def with_expression_of(self, other: Conditions) -> Conditions:
        """The same pose, light and background with another expression."""
        return replace(self, mouth_open=other.mouth_open, brow_raise=other.brow_raise)

    def with_look_of(self, other: Conditions) -> Conditions:
        """The same pose and background with another light, colour and expression."""
        return replace(
            self.with_expression_of(other),
            gain=other.gain,
            balance=other.balance,
            gradient=other.gradient,
            tint=other.tint,
        )


def draw_conditions(count: int, rng: np.random.Generator) -> Conditions:
    """Draw the conditions of ``count`` pictures."""

    def uniform(low: float, high: float, *shape: int) -> np.ndarray:
        return rng.uniform(low, high, (count, *shape)).round(6).astype(np.float32)

    angle, strength = rng.uniform(0, 2 * np.pi, count), rng.uniform(0, 0.25, count)
    base = rng.uniform(0.15, 0.85, (count, 1, 1, 1)) + rng.uniform(-0.15, 0.15, (count, 3, 1, 1))
    return Conditions(
        rotation=uniform(-0.10, 0.10),
        shift=uniform(-0.06, 0.06, 2),
        scale=uniform(0.93, 1.07),
        turn=uniform(-1, 1, 2) * np.array([0.08, 0.05], np.float32),
        mouth_open=uniform(0, 1),
        brow_raise=uniform(-1, 1),
        gain=uniform(0.8, 1.15),
        balance=uniform(0.97, 1.03, 3),
        gradient=(strength[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)).round(6).astype(np.float32),
        tint=uniform(-0.02, 0.02, 3),
        background=(base + rng.uniform(-0.15, 0.15, (count, 3, GRID, GRID))).round(6).astype(np.float32),
    )
