"""Probabilities: fitted by scikit-learn, kept as plain values, refused where there is nothing to fit."""

import numpy as np
import pytest

from av_deepfake import calibration
from shared_utils import UserError

RNG = np.random.default_rng(0)
LABELS = np.repeat([0, 1], [60, 20])
LOGITS = RNG.normal(3 * LABELS - 1.0, 1.5)


@pytest.mark.parametrize("kind", ["logistic", "isotonic"])
def test_a_calibration_rises_and_survives_its_file(kind):
    fitted = calibration.fit(LOGITS, LABELS, "held", kind)
    again = calibration.Calibration.from_dict(fitted.as_dict())
    places = np.linspace(-10, 10, 50)
    assert again == fitted and np.array_equal(again(places), fitted(places))
    assert (np.diff(fitted(places)) >= 0).all() and 0 <= fitted(-99.0) <= 0.2 and 0.8 <= fitted(99.0) <= 1


def test_classes_weigh_the_same_however_many_videos_they_have():
    """Where both are as likely, the probability is one half, though there are three genuine videos for a fake."""
    fitted = calibration.fit(LOGITS, LABELS, "held")
    middle = (LOGITS[LABELS == 0].mean() + LOGITS[LABELS == 1].mean()) / 2
    assert fitted(middle) == pytest.approx(0.5, abs=0.12)


def test_isotonic_is_scikit_learns():
    from sklearn.isotonic import IsotonicRegression

    weights = np.where(LABELS == 1, 0.5 / 0.25, 0.5 / 0.75)
    expected = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(LOGITS, LABELS, sample_weight=weights)
    places = np.linspace(-6, 8, 40)
    assert np.allclose(calibration.fit(LOGITS, LABELS, "held", "isotonic")(places), expected.predict(places))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: calibration.fit([1, 2], [1, 1], "held"), "held has one class only"),
        (lambda: calibration.fit([2, 1], [0, 1], "held"), "fakes score no higher"),
        (lambda: calibration.Calibration.from_dict({"kind": "logistic", "x": [1]}), "not a calibration"),
        (lambda: calibration.Calibration.from_dict({"kind": "x", "x": [1], "y": [1], "dataset": ""}), "not a calib"),
    ],
)
def test_what_is_no_calibration_is_refused(make, message):
    with pytest.raises(UserError, match=message):
        make()
