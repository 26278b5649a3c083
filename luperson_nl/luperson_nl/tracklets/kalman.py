"""A Kalman filter of constant velocity for boxes; the coordinates don't depend on each other, so that all is elementwise."""

from __future__ import annotations

import numpy as np

POSITION, VELOCITY = 1 / 20, 1 / 160  # standard deviations of a frame, as shares of the box's height


class BoxFilters:
    """States of m boxes. mean: (m, 4) centre x, y, width, height; velocity: (m, 4) a frame; covariance: (m, 4, 3) of
    position, of position with velocity, and of velocity, for each coordinate."""

    def __init__(self) -> None:
        self.mean, self.velocity, self.covariance = np.zeros((0, 4)), np.zeros((0, 4)), np.zeros((0, 4, 3))

    def start(self, boxes: np.ndarray) -> None:
        """Append filters at (n, 4) xyxy boxes, at rest."""
        measured = _centred(boxes)
        height = measured[:, 3:4]
        uncertain = np.zeros((len(boxes), 4, 3))
        uncertain[..., 0] = (2 * POSITION * height) ** 2
        uncertain[..., 2] = (10 * VELOCITY * height) ** 2
        self.mean = np.concatenate([self.mean, measured])
        self.velocity = np.concatenate([self.velocity, np.zeros_like(measured)])
        self.covariance = np.concatenate([self.covariance, uncertain])

    def keep(self, rows: np.ndarray) -> None:
        self.mean, self.velocity, self.covariance = self.mean[rows], self.velocity[rows], self.covariance[rows]

    def predict(self, frames: int = 1) -> None:
        """Move on by so many frames."""
        for _ in range(frames if len(self.mean) else 0):
            height = self.mean[:, 3:4]
            position, both, velocity = np.moveaxis(self.covariance, 2, 0)
            position = position + 2 * both + velocity + (POSITION * height) ** 2
            both = both + velocity
            velocity = velocity + (VELOCITY * height) ** 2
            self.covariance = np.stack([position, both, velocity], axis=2)
            self.mean = self.mean + self.velocity
            self.mean[:, 2:] = np.maximum(self.mean[:, 2:], 1)

    def update(self, rows: np.ndarray, boxes: np.ndarray) -> None:
        """Correct the filters ``rows`` by (n, 4) xyxy boxes."""
        measured = _centred(boxes)
        position, both, velocity = np.moveaxis(self.covariance[rows], 2, 0)
        gain = position / (position + (POSITION * measured[:, 3:4]) ** 2)
        gain_velocity = both / position * gain
        wrong = measured - self.mean[rows]
        self.mean[rows] += gain * wrong
        self.velocity[rows] += gain_velocity * wrong
        self.covariance[rows] = np.stack(
            [(1 - gain) * position, (1 - gain) * both, velocity - gain_velocity * both], axis=2
        )

    def boxes(self) -> np.ndarray:
        """(m, 4) xyxy."""
        half = self.mean[:, 2:] / 2
        return np.concatenate([self.mean[:, :2] - half, self.mean[:, :2] + half], axis=1)


def _centred(boxes: np.ndarray) -> np.ndarray:
    return np.concatenate([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]], axis=1)
