"""Numbers of videos against scikit-learn and by hand."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from av_deepfake import metrics
from shared_utils import UserError

RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 2, 80)
LOGITS = np.round(LABELS + RNG.standard_normal(80), 1)  # with ties


def test_a_video_has_the_mean_of_its_clips_logits_not_of_their_probabilities():
    found = metrics.video_level([4.0, -2.0, 1.0], [("A", "1"), ("A", "1"), ("real", "1")], [1, 1, 0])
    assert found.logits.tolist() == [1.0, 1.0] and found.clips.tolist() == [2, 1] and found.labels.tolist() == [1, 0]


def test_fakes_of_two_methods_with_one_id_stay_two_videos():
    keys = [("Deepfakes", "000_003"), ("FaceSwap", "000_003"), ("real", "000")]
    assert len(metrics.video_level([1, 2, 3], keys, [1, 1, 0]).keys) == 3


def test_a_video_with_real_and_fake_clips_is_refused():
    with pytest.raises(UserError, match="real and fake clips"):
        metrics.video_level([1, 2], ["a", "a"], [0, 1])


def test_auc_and_average_precision_are_those_of_scikit_learn():
    # Ranks are exact; the reference adds areas, which rounds.
    assert metrics.auc(LOGITS, LABELS) == pytest.approx(roc_auc_score(LABELS, LOGITS), rel=1e-14)
    assert metrics.average_precision(LOGITS, LABELS) == average_precision_score(LABELS, LOGITS)


def test_at_the_equal_error_rate_both_errors_are_equal():
    fine = RNG.standard_normal(4000) + (labels := RNG.integers(0, 2, 4000))
    rate = metrics.eer(fine, labels)
    threshold = np.quantile(fine[labels == 0], 1 - rate)
    assert (fine[labels == 1] < threshold).mean() == pytest.approx(rate, abs=0.01)
    assert metrics.eer([0, 1, 2, 3], [0, 0, 1, 1]) == 0


def test_true_positives_are_counted_at_what_a_threshold_can_do():
    assert metrics.tpr_at_fpr([0, 1, 2, 3], [0, 1, 0, 1], 0.01) == 0.5
    assert metrics.tpr_at_fpr([0, 1, 2, 3], [0, 1, 0, 1], 0.5) == 1.0


def test_the_best_threshold_lies_between_the_classes():
    assert 1 < metrics.best_threshold([0, 1, 2, 3], [0, 0, 1, 1]) < 2


def test_an_interval_holds_the_value_and_narrows_with_more_videos():
    few = metrics.bootstrap(metrics.auc, LOGITS[:20], LABELS[:20], draws=60)
    many = metrics.bootstrap(metrics.auc, np.tile(LOGITS, 8), np.tile(LABELS, 8), draws=60)
    assert few.low <= few.value <= few.high and many.high - many.low < few.high - few.low


@pytest.mark.parametrize(("logits", "labels", "message"), [([1, 2], [1, 1], "0 real"), ([1, np.nan], [0, 1], "finite")])
def test_what_cannot_be_measured_is_refused(logits, labels, message):
    with pytest.raises(UserError, match=message):
        metrics.auc(logits, labels)
