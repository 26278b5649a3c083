"""From a score to a probability of being fake, as seen on a validation set; without one, no probability is given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from ict_deepfake.metrics.curves import check_classes
from shared_utils import UserError

Kind = Literal["logistic", "isotonic"]
ScoreName = Literal["consistency", "reference"]


@dataclass(frozen=True)
class Calibration:
    """P(fake) as a rising function of a score.

    kind: ``logistic``, 1 / (1 + exp(-(slope score + intercept))), or ``isotonic``, linear between knots.
    x, y: (slope,) and (intercept,), or the knots. dataset: what it was fitted on. score: which score it is for.
    """

    kind: Kind
    x: tuple[float, ...]
    y: tuple[float, ...]
    dataset: str
    score: ScoreName = "consistency"

    def __call__(self, scores: ArrayLike) -> np.ndarray:
        """Probabilities of being fake of scores of any shape."""
        values = np.asarray(scores, np.float64)
        if self.kind == "isotonic":
            return np.where(np.isnan(values), np.nan, np.interp(values, self.x, self.y))
        return 1 / (1 + np.exp(-np.clip(self.x[0] * values + self.y[0], -500, 500)))

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for a checkpoint or JSON."""
        return {**asdict(self), "x": list(self.x), "y": list(self.y)}

    @classmethod
    def from_dict(cls, facts: Mapping[str, Any]) -> Calibration:
        """The inverse of ``as_dict``.

        Raises:
            UserError: the facts are not those of a calibration.
        """
        try:
            pairs = tuple(map(float, facts["x"])), tuple(map(float, facts["y"]))
            if facts["kind"] not in ("logistic", "isotonic") or len(pairs[0]) != len(pairs[1]) or not pairs[0]:
                raise ValueError
            return cls(facts["kind"], *pairs, str(facts["dataset"]), facts.get("score", "consistency"))
        except (KeyError, TypeError, ValueError):
            raise UserError(f"{dict(facts)} is not a calibration: fit it again with evaluate") from None


def calibrate(
    scores: ArrayLike,
    labels: ArrayLike,
    dataset: str,
    kind: Kind = "logistic",
    score: ScoreName = "consistency",
) -> Calibration:
    """Fit a calibration on validation scores.

    Args:
        scores: (n,), larger means fake.
        labels: (n,), 1 = fake.
        dataset: name of the validation set, which is kept and shown.
        kind: ``logistic`` (Platt) or ``isotonic``.
        score: which score it is.

    Raises:
        UserError: one class only.
    """
    values, fake = check_classes(scores, labels, dataset)
    if kind == "isotonic":
        from scipy.optimize import isotonic_regression

        knots, index = np.unique(values, return_inverse=True)
        weights = np.bincount(index)
        shares = np.bincount(index, weights=fake) / weights
        fitted = isotonic_regression(shares, weights=weights).x
        # The ends of its steps suffice.
        ends = np.flatnonzero(np.diff(fitted, prepend=-1) + np.diff(fitted, append=2))
        return Calibration(kind, tuple(knots[ends].tolist()), tuple(fitted[ends].tolist()), dataset, score)
    slope, intercept = _logistic(values, fake)
    return Calibration("logistic", (slope,), (intercept,), dataset, score)


def _logistic(values: np.ndarray, fake: np.ndarray) -> tuple[float, float]:
    """Platt's fit: the smoothed targets keep it finite where the classes do not overlap; a slope below 0 is 0."""
    from scipy.optimize import minimize

    positive, negative = fake.sum(), (~fake).sum()
    target = np.where(fake, (positive + 1) / (positive + 2), 1 / (negative + 2))
    centre, spread = values.mean(), values.std() or 1.0
    x = (values - centre) / spread

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        logits = parameters[0] * x + parameters[1]
        error = 1 / (1 + np.exp(-logits)) - target
        return float((np.logaddexp(0, logits) - target * logits).mean()), np.array([(error * x).mean(), error.mean()])

    slope, intercept = minimize(loss, [1.0, 0.0], jac=True, method="L-BFGS-B", bounds=[(0, 500), (-500, 500)]).x
    return float(slope / spread), float(intercept - slope * centre / spread)
