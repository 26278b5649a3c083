"""Metrics: exact, as scikit-learn has them; videos, intervals, calibration; one class is refused."""

import numpy as np
import pytest

from ict_deepfake import metrics
from shared_utils import UserError


def sample(count=300, fakes=0.2, ties=True, seed=0):
    draw = np.random.default_rng(seed)
    labels = (draw.random(count) < fakes).astype(int)
    scores = draw.normal(labels, 1.0)
    return (scores.round(1) if ties else scores), labels


@pytest.mark.parametrize("ties", [True, False])
@pytest.mark.parametrize("fakes", [0.02, 0.5, 0.97])
def test_areas_are_scikit_learns(ties, fakes):
    sklearn = pytest.importorskip("sklearn.metrics")
    scores, labels = sample(400, fakes, ties)
    assert metrics.auc(scores, labels) == pytest.approx(sklearn.roc_auc_score(labels, scores), abs=1e-12)
    expected = sklearn.average_precision_score(labels, scores)
    assert metrics.average_precision(scores, labels) == pytest.approx(expected, abs=1e-12)
    fpr, tpr, _ = sklearn.roc_curve(labels, scores, drop_intermediate=False)
    ours = metrics.roc(scores, labels)
    np.testing.assert_allclose(ours.fpr, fpr, atol=1e-12)
    np.testing.assert_allclose(ours.tpr, tpr, atol=1e-12)


def test_auc_is_the_share_of_pairs_in_the_right_order():
    scores, labels = sample(60)
    fake, real = scores[labels == 1][:, None], scores[labels == 0][None]
    assert metrics.auc(scores, labels) == pytest.approx(((fake > real) + 0.5 * (fake == real)).mean())
    assert metrics.auc(np.zeros(4), [0, 1, 0, 1]) == 0.5
    assert metrics.auc(-scores, labels) == pytest.approx(1 - metrics.auc(scores, labels))


def test_the_equal_error_rate_lies_where_both_errors_are_equal():
    assert metrics.eer([0.1, 0.2, 0.8, 0.9], [0, 0, 1, 1]) == 0
    assert metrics.eer([0.1, 0.9, 0.1, 0.9], [0, 0, 1, 1]) == pytest.approx(0.5)
    assert metrics.eer([1, 2, 3, 4], [0, 1, 0, 1]) == pytest.approx(0.5)
    scores, labels = sample(2000, 0.5, ties=False)
    rate, (fpr, tpr, _) = metrics.eer(scores, labels), metrics.roc(scores, labels)
    assert np.interp(rate, fpr, 1 - tpr) == pytest.approx(rate, abs=2e-3)


def test_catching_fakes_at_few_false_alarms_counts_points_that_exist():
    labels = np.repeat([0, 1], [100, 10])
    scores = np.concatenate([np.arange(100), np.full(10, 98.5)])
    assert metrics.tpr_at_fpr(scores, labels, 0.01) == 1
    assert metrics.tpr_at_fpr(scores, labels, 0.001) == 0


@pytest.mark.parametrize(
    ("scores", "labels", "words"),
    [
        ([0.1, 0.2], [0, 0], "holds only real pictures .2.: AUC needs fake ones too"),
        ([0.1, 0.2], [1, 1], "holds only fake pictures"),
        ([], [], "no scored pictures"),
        ([0.1, np.nan], [0, 1], "1 scores that are not finite"),
        ([0.1], [0, 1], "1 scores and 2 labels"),
        ([0.1, 0.2], [0, 2], "labels other than 0"),
    ],
)
@pytest.mark.parametrize("measure", [metrics.auc, metrics.eer, metrics.average_precision])
def test_degenerate_sets_are_refused_in_a_sentence(measure, scores, labels, words):
    with pytest.raises(UserError, match=words):
        measure(scores, labels)


def test_frames_become_videos_and_videos_without_a_face_stay():
    scores = [0.0, 1.0, 5.0, np.nan, np.nan, 3.0]
    videos = ["real/a", "real/a", "real/a", "real/a", "fake/a", "fake/b"]
    labels = [0, 0, 0, 0, 1, 1]
    found = metrics.by_video(scores, labels, videos)
    assert found.names == ["real/a", "fake/a", "fake/b"] and found.labels.tolist() == [0, 1, 1]
    np.testing.assert_array_equal(found.scores, [2.0, np.nan, 3.0])
    assert metrics.by_video(scores, labels, videos, "median").scores[0] == 1
    assert metrics.by_video(scores, labels, videos, "top").scores[0] == 5
    with pytest.raises(UserError, match="video v has real and fake frames"):
        metrics.by_video([0, 1], [0, 1], ["v", "v"])
    assert metrics.by_video([], [], []).names == []


def test_intervals_are_over_videos():
    draw = np.random.default_rng(0)
    labels = np.repeat([0, 1], 20)
    values = draw.normal(labels, 1.0)
    once = metrics.bootstrap(metrics.auc, values, labels, range(40), draws=300)
    # Every video fifty times is no more knowledge.
    often = [np.repeat(each, 50) for each in (values, labels, np.arange(40))]
    again = metrics.bootstrap(metrics.auc, *often, draws=300)
    assert again == once and once.low < once.value < once.high
    assert str(once).startswith(f"{once.value:.3f} (")


@pytest.mark.parametrize("kind", ["logistic", "isotonic"])
def test_a_calibration_says_how_often_such_a_score_was_fake(kind):
    draw = np.random.default_rng(0)
    scores = draw.uniform(0, 4, 4000)
    labels = draw.random(4000) < 1 / (1 + np.exp(-(2 * scores - 3)))
    fitted = metrics.calibrate(scores, labels, "validation", kind)
    at = np.array([0.5, 1.5, 2.5, 3.5])
    np.testing.assert_allclose(fitted(at), 1 / (1 + np.exp(-(2 * at - 3))), atol=0.08)
    again = metrics.Calibration.from_dict(fitted.as_dict())
    assert again == fitted and again.dataset == "validation"
    assert (np.diff(fitted(np.linspace(0, 4, 50))) >= 0).all()


def test_a_calibration_of_separable_scores_stays_finite_and_one_of_reversed_scores_is_flat():
    scores, labels = np.arange(10.0), np.repeat([0, 1], 5)
    fitted = metrics.calibrate(scores, labels, "v")
    assert np.isfinite([*fitted.x, *fitted.y]).all() and 0 < fitted([0.0])[0] < 0.5 < fitted([9.0])[0] < 1
    flat = metrics.calibrate(-scores, labels, "v")(scores)
    np.testing.assert_allclose(flat, 0.5, atol=1e-3)
    assert np.isnan(metrics.calibrate(scores, labels, "v", "isotonic")([np.nan])).all()
    with pytest.raises(UserError, match="v holds only"):
        metrics.calibrate(scores, labels * 0, "v")
    with pytest.raises(UserError, match="is not a calibration"):
        metrics.Calibration.from_dict({"kind": "logistic"})


def test_the_published_curve_never_reaches_one_where_a_fold_has_no_fakes():
    scores, labels = np.repeat([0.5, 1.5], [40, 10]), np.repeat([0, 1], [40, 10])
    ordered = metrics.published_curve(scores, labels)
    assert ordered.fpr.max() == pytest.approx(0.2) and ordered.auc < 0.25 and metrics.auc(scores, labels) == 1
    drawn = metrics.published_curve(scores, labels, largest=10.0, shuffle_seed=0)
    assert drawn.auc > ordered.auc and len(drawn.tpr) == 1000
    with pytest.raises(UserError, match="cannot be cut into 60 folds"):
        metrics.published_curve(scores, labels, folds=60)
