"""How far a detector's boxes are from where the filter expects them: its measurement noise, learned while tracking."""

from __future__ import annotations

import numpy as np

from mot_occlusion.tracking import kalman

#: Of the running estimate: what a frame with one track counts; frames with more count as much more, up to one half.
RATE = 0.02
#: A detector is never believed to be better than published, nor worse than so many times that.
LIMIT = 4.0
#: Median of the square of a normal variable: squared innovations are summed up robustly, as some matches are wrong.
_MEDIAN = 0.4549


class MeasurementNoise:
    """Factors (4,) of the filter's measurement deviations; given once, or None: followed.

    The innovations of tracks seen in the frame before have the variance P + R, P of the prediction and R of the measurement.
    R is raised or lowered until their median square agrees with it.
    """

    def __init__(self, given: float | None, relative: bool = False) -> None:
        self.follows, self.relative = given is None, relative
        # cx, cy, h, and the aspect ratio where its deviation is relative: the published 0.1 is wide as it is.
        self.values = (0, 1, 2, 3) if relative else (0, 1, 3)
        self.factors = np.full(4, 1.0 if given is None else given)

    def learn(self, mean: np.ndarray, blocks: np.ndarray, measurements: np.ndarray) -> None:
        """Take in predicted tracks (n, 8) and the measurements (n, 4) they were matched with."""
        if not (self.follows and len(mean)):
            return
        expected, variance = kalman.project(mean, blocks, noise=self.factors, relative=self.relative)
        given = kalman.project(mean, blocks, relative=self.relative)[1] - blocks[:, 0]
        squared = (measurements - expected) ** 2
        rate = min(0.5, RATE * len(mean))
        for value in self.values:
            ratio = np.median(squared[:, value] / variance[:, value]) / _MEDIAN
            wanted = ratio * variance[:, value] - blocks[:, 0, value]
            target = np.clip(np.median(wanted / given[:, value]), 1.0, LIMIT**2)
            self.factors[value] = np.sqrt((1 - rate) * self.factors[value] ** 2 + rate * target)
