"""From a logit to a probability of being forged, fitted on validation videos; a model without one gives no probability."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from shared_utils import UserError

Kind = Literal["logistic", "isotonic"]


@dataclass(frozen=True)
class Calibration:
    """P(fake) as a rising function of a video's logit.

    Args:
        kind: ``logistic``, 1 / (1 + exp(-(slope z + intercept))), or ``isotonic``, linear between knots.
        x: (slope,), or the knots' logits.
        y: (intercept,), or the knots' probabilities.
        dataset: what it was fitted on.
    """

    kind: Kind
    x: tuple[float, ...]
    y: tuple[float, ...]
    dataset: str

    def __call__(self, logits: ArrayLike) -> np.ndarray:
        """P(fake) of logits of any shape."""
        values = np.asarray(logits, np.float64)
        if self.kind == "isotonic":
            return np.interp(values, self.x, self.y)
        return 1 / (1 + np.exp(-np.clip(self.x[0] * values + self.y[0], -500, 500)))

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for a config.json."""
        return {"kind": self.kind, "x": list(self.x), "y": list(self.y), "dataset": self.dataset}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Calibration:
        """The inverse of ``as_dict``.

        Raises:
            UserError: it is not a calibration.
        """
        try:
            kind, x, y = values["kind"], tuple(map(float, values["x"])), tuple(map(float, values["y"]))
            if kind not in ("logistic", "isotonic") or len(x) != len(y) or not x:
                raise ValueError
            return cls(kind, x, y, str(values["dataset"]))
        except (KeyError, TypeError, ValueError):
            raise UserError(f"not a calibration: {values!r}; write it again with evaluate --calibrate") from None


def fit(logits: ArrayLike, labels: ArrayLike, dataset: str, kind: Kind = "logistic") -> Calibration:
    """Fit on validation videos, both classes weighing the same.

    Args:
        logits: (m,) of videos.
        labels: (m,), 1 = fake.
        dataset: its name.
        kind: logistic needs few videos; isotonic any monotone shape, and hundreds.

    Raises:
        UserError: a class is missing, or real videos score higher than fakes.
    """
    values, fake = np.asarray(logits, np.float64).reshape(-1), np.asarray(labels).reshape(-1).astype(int)
    if len(set(fake.tolist())) < 2:
        raise UserError(f"{dataset} has one class only: a calibration needs real and fake videos")
    if values[fake == 1].mean() <= values[fake == 0].mean():
        raise UserError(f"{dataset}: fakes score no higher than real videos, there is nothing to calibrate")
    weights = np.where(fake == 1, 0.5 / (fake == 1).mean(), 0.5 / (fake == 0).mean())
    if kind == "isotonic":
        from sklearn.isotonic import IsotonicRegression

        fitted = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(values, fake, sample_weight=weights)
        x, y = fitted.X_thresholds_, fitted.y_thresholds_
        return Calibration("isotonic", tuple(map(float, x)), tuple(map(float, y)), dataset)
    from sklearn.linear_model import LogisticRegression

    # In units of the spread, so that the default penalty means the same for every model.
    scale = float(values.std()) or 1.0
    fitted = LogisticRegression().fit(values[:, None] / scale, fake, sample_weight=weights)
    return Calibration("logistic", (float(fitted.coef_[0, 0]) / scale,), (float(fitted.intercept_[0]),), dataset)
