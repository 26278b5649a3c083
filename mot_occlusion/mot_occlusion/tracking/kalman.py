"""The constant-velocity Kalman filter of DeepSORT in closed form, for any number of tracks at once.

The state of a track is (cx, cy, a, h, and their velocities), a = w / h. Transition, process and measurement noise never
couple the four coordinates, so the 8 x 8 covariance is four 2 x 2 blocks (value, velocity) and every step is a few
multiplications: no matrix is solved.

A batch of tracks is ``mean`` (n, 8) and ``blocks`` (n, 3, 4) float64, where ``blocks[:, 0]`` is the variance of the
four values, ``blocks[:, 1]`` their covariance with their velocity, ``blocks[:, 2]`` the variance of the velocities.

Deviations are shares of the height, those of the aspect ratio constants: a measured one is off by 0.1, a quarter of a
walker's width, so the published filter follows a width too slowly. ``relative`` takes the same share of the ratio instead.
"""

from __future__ import annotations

import numpy as np

STD_POSITION = 1 / 20
STD_VELOCITY = 1 / 160
GATE = 9.4877
"""0.95 quantile of the chi-square distribution with 4 degrees of freedom."""


def _variances(mean: np.ndarray, weight: float, aspect: float, relative: bool) -> np.ndarray:
    """(n, 8) -> (n, 4) variances: (weight * h)^2; that of the aspect ratio is aspect^2, or relative (weight * a)^2."""
    variance = np.empty((len(mean), 4))
    variance[:] = ((weight * mean[:, 3]) ** 2)[:, None]
    variance[:, 2] = (weight * mean[:, 2]) ** 2 if relative else aspect**2
    return variance


def initiate(
    measurements: np.ndarray,
    std_position: float = STD_POSITION,
    std_velocity: float = STD_VELOCITY,
    relative: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Tracks (mean, blocks) that begin at measurements (n, 4) of cx, cy, a, h, at rest and with a large uncertainty."""
    mean = np.zeros((len(measurements), 8))
    mean[:, :4] = measurements
    blocks = np.zeros((len(measurements), 3, 4))
    blocks[:, 0] = _variances(mean, 2 * std_position, 1e-2, relative)
    blocks[:, 2] = _variances(mean, 10 * std_velocity, 1e-5, relative)
    return mean, blocks


def predict(
    mean: np.ndarray,
    blocks: np.ndarray,
    std_position: float = STD_POSITION,
    std_velocity: float = STD_VELOCITY,
    relative: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """One frame on: the values move by their velocities, the covariance grows by the process noise."""
    value, cross, velocity = blocks[:, 0], blocks[:, 1], blocks[:, 2]
    moved = mean.copy()
    moved[:, :4] += mean[:, 4:]
    grown = np.empty_like(blocks)
    grown[:, 0] = value + 2 * cross + velocity + _variances(mean, std_position, 1e-2, relative)
    grown[:, 1] = cross + velocity
    grown[:, 2] = velocity + _variances(mean, std_velocity, 1e-5, relative)
    return moved, grown


def project(
    mean: np.ndarray,
    blocks: np.ndarray,
    std_position: float = STD_POSITION,
    noise: float | np.ndarray = 1.0,
    relative: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """What would be measured: means (n, 4) and variances (n, 4).

    noise: multiplies the measurement's deviation, of all values or (4,) of each.
    """
    return mean[:, :4], blocks[:, 0] + noise**2 * _variances(mean, std_position, 1e-1, relative)


def update(
    mean: np.ndarray,
    blocks: np.ndarray,
    measurements: np.ndarray,
    std_position: float = STD_POSITION,
    noise: float | np.ndarray = 1.0,
    relative: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Correct each track by its measurement (n, 4); ``noise`` as in ``project``."""
    expected, variance = project(mean, blocks, std_position, noise, relative)
    value, cross = blocks[:, 0], blocks[:, 1]
    gain_value, gain_velocity = value / variance, cross / variance
    innovation = measurements - expected
    corrected = mean + np.concatenate([gain_value * innovation, gain_velocity * innovation], axis=1)
    shrunk = np.empty_like(blocks)
    shrunk[:, 0] = value - gain_value * value
    shrunk[:, 1] = cross - gain_value * cross
    shrunk[:, 2] = blocks[:, 2] - gain_velocity * cross
    return corrected, shrunk


def update_centre_x(
    mean: np.ndarray, blocks: np.ndarray, innovation: np.ndarray, slope: np.ndarray, variance: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Correct the horizontal centre of tracks, and its velocity, by one number each.

    innovation (n,): what was measured minus what was expected; slope (n,): how much that moves with the centre, 0 where
    it says nothing of it; variance (n,): of the measurement.
    """
    value, cross = blocks[:, 0, 0], blocks[:, 1, 0]
    spread = slope**2 * value + variance
    gain_value, gain_velocity = slope * value / spread, slope * cross / spread
    corrected, shrunk = mean.copy(), blocks.copy()
    corrected[:, 0] += gain_value * innovation
    corrected[:, 4] += gain_velocity * innovation
    shrunk[:, 0, 0] -= gain_value * slope * value
    shrunk[:, 1, 0] -= gain_value * slope * cross
    shrunk[:, 2, 0] -= gain_velocity * slope * cross
    return corrected, shrunk


def gating_distance(
    mean: np.ndarray,
    blocks: np.ndarray,
    measurements: np.ndarray,
    only_position: bool = False,
    std_position: float = STD_POSITION,
    noise: float | np.ndarray = 1.0,
) -> np.ndarray:
    """Squared Mahalanobis distance (n, m) of measurements (m, 4) to the tracks, in all four values or in cx, cy.

    With the published deviation of the aspect ratio always: who is half covered is still the same person.
    """
    expected, variance = project(mean, blocks, std_position, noise)
    precision = 1 / variance
    values = np.ascontiguousarray(measurements.T)  # rows of it are read once a track
    distance = np.zeros((len(mean), len(measurements)))
    for value in range(2 if only_position else 4):
        apart = values[value] - expected[:, value, None]
        apart *= apart
        apart *= precision[:, value, None]
        distance += apart
    return distance


def move_camera(mean: np.ndarray, blocks: np.ndarray, motion: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Tracks in the picture of a camera that has moved: motion (2, 3) takes points of the last frame to this one's.

    Centres go along with their velocities; heights by the scale of the motion. Turning mixes no variances here, as the
    filter keeps none between coordinates.
    """
    turn = motion[:, :2]
    scale = np.sqrt(abs(np.linalg.det(turn)))
    moved, grown = mean.copy(), blocks.copy()
    moved[:, :2] = mean[:, :2] @ turn.T + motion[:, 2]
    moved[:, 4:6] = mean[:, 4:6] @ turn.T
    moved[:, [3, 7]] *= scale
    grown[:, :, [0, 1, 3]] *= scale**2
    return moved, grown


def covariance_matrices(blocks: np.ndarray) -> np.ndarray:
    """The full covariances (n, 8, 8)."""
    full = np.zeros((len(blocks), 8, 8))
    axis = np.arange(4)
    full[:, axis, axis] = blocks[:, 0]
    full[:, axis, axis + 4] = full[:, axis + 4, axis] = blocks[:, 1]
    full[:, axis + 4, axis + 4] = blocks[:, 2]
    return full


def to_measurements(boxes: np.ndarray) -> np.ndarray:
    """Boxes (n, 4) x1, y1, x2, y2 -> measurements (n, 4) cx, cy, w / h, h."""
    size = boxes[:, 2:] - boxes[:, :2]
    centre = boxes[:, :2] + size / 2
    measurements = np.empty((len(boxes), 4))
    measurements[:, :2] = centre
    np.divide(size[:, 0], size[:, 1], out=measurements[:, 2])
    measurements[:, 3] = size[:, 1]
    return measurements


def to_boxes(mean: np.ndarray) -> np.ndarray:
    """The boxes (n, 4) x1, y1, x2, y2 of tracks (n, 8)."""
    boxes = np.empty((len(mean), 4))
    start, size = boxes[:, :2], boxes[:, 2:]
    size[:] = mean[:, 2:4]
    size[:, 0] *= size[:, 1]
    np.subtract(mean[:, :2], size / 2, out=start)
    size += start
    return boxes
