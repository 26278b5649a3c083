"""What was added to the published association: weak detections, fused costs, exchanged stages, classes, a moving camera."""

import logging

import numpy as np
import pytest

from mot_occlusion.detections import Detections
from mot_occlusion.tracking import LOST, PUBLISHED, TRACKED, Tracker, kalman, occlusion, stages
from mot_occlusion.tracking.noise import MeasurementNoise
from shared_utils import UserError

SIZE = (600, 800)


def box(x, y, w=40, h=100):
    return [x, y, x + w, y + h]


def seen(boxes, scores=0.9, embeddings=None, centres=None, classes=None):
    boxes = np.array(boxes, dtype=np.float32).reshape(-1, 4)
    scores = np.broadcast_to(np.asarray(scores, dtype=float), len(boxes))
    centres = None if centres is None else np.array(centres, dtype=float).reshape(-1, 2)
    return Detections(boxes, scores, embeddings, centres, None, classes)


def test_weak_detections_go_on_with_a_track_and_start_none():
    def ids(**options):
        tracker, found = Tracker(SIZE, **options), []
        for step in range(12):
            score = 0.2 if 4 <= step < 10 else 0.9
            tracks = tracker.update(seen([box(100 + 3 * step, 200), box(500, 300)], [score, 0.2]))
            found.append(tracks.ids.tolist())
        return found

    assert ids(low_threshold=0.1) == [[1]] * 12  # the second person never scores enough to begin
    assert ids(low_threshold=0.3)[6] == ids(low_threshold=None)[6] == []


def test_a_weak_detection_finds_nobody_who_is_lost():
    tracker = Tracker(SIZE, low_threshold=0.1)
    for step in range(8):
        frame = [] if step == 4 else [box(100, 200)]
        tracks = tracker.update(seen(frame, 0.2 if step >= 5 else 0.9))
        assert tracks.ids.tolist() == ([1] if step < 4 else [])
    assert tracker.lost_tracks().ids.tolist() == [1]


def test_a_weak_detection_does_not_change_how_a_person_looks():
    def features(score):
        tracker = Tracker(SIZE, low_threshold=0.1)
        for step in range(6):
            look = np.eye(2, 8)[[0 if step < 3 else 1]]
            tracker.update(seen([box(100, 200)], score if step >= 3 else 0.9, look))
        return tracker._rows.features[tracker.tracked][0]

    np.testing.assert_allclose(features(0.2), np.eye(1, 8)[0])
    assert features(0.9)[1] > 0.1


def test_new_tracks_need_their_own_threshold():
    tracker = Tracker(SIZE, new_threshold=0.7)
    for _ in range(3):
        tracks = tracker.update(seen([box(100, 200), box(400, 200)], [0.8, 0.6]))
    assert tracks.ids.tolist() == [1]


def swapped_looks(**options):
    """Two people who stay where they are, while each looks more like the other (cosine .75 against .5)."""
    tracker = Tracker(SIZE, fair_iou=True, **options)
    mixed = np.array([[0.5, 0.75, 0.43], [0.75, 0.5, 0.43]])
    for step in range(7):
        looks = np.eye(2, 3) if step < 5 else mixed
        tracks = tracker.update(seen([box(100, 200), box(112, 200)], embeddings=looks))
    return tracks.ids[np.argsort(tracks.boxes[:, 0])].tolist()


def test_looks_do_not_take_apart_what_overlaps_where_both_are_asked_first():
    assert swapped_looks() == [2, 1]
    assert swapped_looks(first="fused") == [1, 2]


def test_looks_find_a_lost_person_where_both_are_asked_first():
    """Who comes back within the gate, but beside the predicted box, is known by embedding alone."""

    def identity(looks):
        tracker = Tracker(SIZE, fair_iou=True, first="fused")
        for step in range(16):
            frame = [] if 5 <= step < 13 else [box(100 if step < 5 else 145, 200)]
            look = np.eye(1, 8, k=looks * (step >= 13))[: len(frame)]
            tracks = tracker.update(seen(frame, embeddings=look))
        return tracks.ids.tolist()

    assert identity(0) == [1]
    assert identity(1) == [2]


def test_stages_are_exchanged_without_another_update():
    def middles(candidates):
        a, b = ((boxes[:, :2] + boxes[:, 2:]) / 2 for boxes in (candidates.track_boxes, candidates.boxes))
        return np.linalg.norm(a[:, None] - b, axis=2)

    jumps = [seen([box(100 + 60 * step, 200)]) for step in range(5)]
    own = Tracker(SIZE, stages=[stages.Stage(middles, 150, ("seen", "lost", "new"))])
    assert [own.update(frame).ids.tolist() for frame in jumps] == [[1]] * 5
    usual = Tracker(SIZE)
    assert [usual.update(frame).ids.tolist() for frame in jumps] == [[1]] + [[]] * 4


def test_a_track_keeps_to_its_class_and_reports_it():
    tracker = Tracker(SIZE, max_aspect=None)
    for step in range(4):
        kinds = np.array([2, 0])
        tracks = tracker.update(seen([box(100, 200, 120, 60), box(400, 200)], classes=kinds))
        assert tracks.classes.tolist() == [2, 0] and tracks.detections.tolist() == [0, 1], step
    assert tracks.ids.tolist() == [1, 2]
    tracks = tracker.update(seen([box(400, 200), box(100, 200, 120, 60)], classes=np.array([0, 7])))
    assert tracks.ids.tolist() == [2]  # something of another kind stands where the first was
    assert tracks.detections.tolist() == [0]
    assert tracker.lost_tracks().classes.tolist() == [2]


def test_without_classes_tracks_have_none():
    assert Tracker(SIZE).update(seen([box(100, 200)])).classes.tolist() == [-1]


def test_lost_tracks_are_asked_for_with_their_predicted_boxes():
    tracker = Tracker(SIZE)
    for step in range(10):
        tracker.update(seen([box(100 + 4 * step, 200)] if step < 7 else []))
    lost = tracker.lost_tracks()
    assert lost.ids.tolist() == [1] and lost.unseen.tolist() == [3]
    np.testing.assert_allclose(lost.boxes, [box(136, 200)], atol=2)


def test_tracks_follow_a_camera_that_moves():
    """Everything jumps by 70 pixels and grows by a tenth a frame: without its motion, nobody is found again."""
    motion = np.array([[1.1, 0, 70], [0, 1.1, -20]])

    def ids(given):
        tracker, corners = Tracker(SIZE, measurement_noise=1.0), np.array([[50.0, 200], [80, 280]])
        for _ in range(4):
            tracks = tracker.update(seen([corners.reshape(-1)]), motion=motion if given else None)
            corners = corners @ motion[:, :2].T + motion[:, 2]
        return tracks.ids.tolist()

    assert ids(True) == [1]
    assert ids(False) == []
    with pytest.raises(UserError, match=r"motion is a \(2, 3\) matrix"):
        Tracker(SIZE).update(seen([]), motion=np.eye(3))


# The filter's noise ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("relative", [False, True])
@pytest.mark.parametrize("deviation", [0.02, 0.1, 0.15])
def test_measurement_noise_follows_the_boxes(deviation, relative):
    """Walkers at a constant pace, measured with a deviation in heights: the factor is that over a twentieth, from 1 on."""
    rng, noise = np.random.default_rng(0), MeasurementNoise(None, relative)
    true = rng.uniform([100, 100, 0.4, 80], [500, 400, 0.4, 160], (20, 4))
    mean, blocks = kalman.initiate(true, relative=relative)
    scale = true[:, [3, 3, 2, 3]] * deviation
    for step in range(1, 150):
        measured = true + [2.0 * step, 0, 0, 0] + scale * rng.normal(0, [1, 1, relative, 1], true.shape)
        mean, blocks = kalman.predict(mean, blocks, relative=relative)
        noise.learn(mean, blocks, measured)
        mean, blocks = kalman.update(mean, blocks, measured, noise=noise.factors, relative=relative)
    expected = max(1.0, deviation / 0.05)
    np.testing.assert_allclose(noise.factors[[0, 1, 3]], expected, rtol=0.3)
    np.testing.assert_allclose(noise.factors[2], expected if relative else 1, rtol=0.3)


def test_a_given_noise_stays():
    noise = MeasurementNoise(2.0)
    mean, blocks = kalman.initiate(np.array([[100.0, 100, 0.4, 80]]))
    noise.learn(mean, blocks, mean[:, :4] + 50)
    assert noise.factors.tolist() == [2.0] * 4


def test_a_box_follows_a_width_that_changes():
    """Somebody turns round: half as wide again within six frames. The published filter is still a tenth too narrow."""

    def narrow(**options):
        tracker = Tracker(SIZE, **options)
        for frame in range(30):
            half = 20 + 10 * np.clip((frame - 20) / 6, 0, 1)
            tracks = tracker.update(Detections(np.array([[100 - half, 50, 100 + half, 150]]), np.array([0.9])))
        x1, _, x2, _ = tracks.boxes[0]
        return 1 - (x2 - x1) / 60

    assert abs(narrow()) < 0.04
    assert narrow(published_aspect=True) > 0.1


def test_somebody_half_covered_is_still_recognised():
    """The gate of re-identification stays the published one: a box cut to two thirds of its width passes it."""
    recognise = stages.Stage(stages.appearance, 0.4, ("seen", "lost"))
    tracker = Tracker(SIZE, stages=[recognise])
    for right in [140.0] * 20 + [126.0]:
        found = Detections(np.array([[100, 50, right, 150]]), np.array([0.9]), np.eye(1, 8))
        assert tracker.update(found).ids.tolist() == [1]


# Occlusion ---------------------------------------------------------------------------------------------------------


def hidden_person(**options):
    """Somebody stops behind another one; the boxes reported for them while they are hidden, and the true one."""
    tracker = Tracker(SIZE, recovery_window=8, **options)
    reported = []
    for step in range(28):
        front, behind = box(300, 200, 60, 140), box(190 + 6 * min(step, 17), 205, 50, 130)
        common = occlusion.overlap(np.array(front, float), np.array(behind, float))
        spot = [(common[:2] + common[2:]) / 2] if common[2] > common[0] else []
        found = [front] if step >= 18 else [front, behind]
        tracks = tracker.update(seen(found, embeddings=np.eye(2, 8)[: len(found)], centres=spot))
        reported += tracks.boxes[(tracks.ids == 2) & (tracks.states == LOST)].tolist()
    return np.array(reported).reshape(-1, 4), np.array(behind, float)


def test_the_centre_pulls_a_hidden_person_back_by_what_it_tells():
    """Solving for the box would put it exactly where the centre says; none lets it walk on."""
    error = {}
    for refinement in ("none", "centre"):
        boxes, behind = hidden_person(refine_lost_box=refinement, recovered_overlap=1.0)
        error[refinement] = np.abs(boxes[:, 0] - behind[0])[-3:].mean()
    assert error["centre"] < 0.5 * error["none"]


def test_a_centre_is_a_measurement_with_its_variance():
    known = np.array([[0.0, 0, 100, 200]])
    mean, blocks = kalman.predict(*kalman.initiate(np.array([[50.0, 100, 0.4, 100], [100.0, 100, 0.4, 100]])))
    moved, shrunk = occlusion.follow_centres(mean, blocks, known, np.array([[56.0, 100], [92.0, 100]]))
    # Inside the known box the centre is the person's own: one number, its variance (.21 of the overlap)^2.
    value, noise = blocks[0, 0, 0], (0.21 * 40) ** 2
    assert moved[0, 0] == pytest.approx(50 + 6 * value / (value + noise))
    assert shrunk[0, 0, 0] == pytest.approx(value * noise / (value + noise))
    # Half outside, [80, 120]: the overlap [80, 100] has its centre at 90, which moves by half of what the person does.
    noise = (0.21 * 20) ** 2
    assert moved[1, 0] == pytest.approx(100 + 2 * 0.5 * value / (0.25 * value + noise))
    np.testing.assert_array_equal(moved[:, [1, 2, 3, 5, 6, 7]], mean[:, [1, 2, 3, 5, 6, 7]])


def test_a_centre_beyond_the_gate_or_beside_a_covering_person_tells_nothing():
    known = np.array([[60.0, 0, 70, 200]])
    mean, blocks = kalman.predict(*kalman.initiate(np.array([[65.0, 100, 1.0, 100]])))
    inside = occlusion.follow_centres(mean, blocks, known, np.array([[66.0, 100]]))[0]
    np.testing.assert_array_equal(inside, mean)  # the lost box covers the known one: where it stands does not show
    wide = np.array([[0.0, 0, 100, 200]])
    mean, blocks = kalman.predict(*kalman.initiate(np.array([[50.0, 100, 0.4, 100]])))
    blocks[:, 0] /= 100  # the prediction is sure to a pixel or so, the centre is 19 pixels off
    np.testing.assert_array_equal(occlusion.follow_centres(mean, blocks, wide, np.array([[69.0, 100]]))[0], mean)


def test_a_recovered_box_that_doubles_a_tracked_one_is_dropped():
    boxes, _ = hidden_person()
    kept, _ = hidden_person(recovered_overlap=1.0)
    front = np.array([box(300, 200, 60, 140)], float)
    assert len(kept) > len(boxes)
    from mot_occlusion.tracking.association import iou

    assert (iou(boxes, front) <= 0.5).all() and (iou(kept, front) > 0.5).any()


def test_a_refined_box_counts_as_four_times_noisier_than_a_detection(monkeypatch):
    """The published refinement as a measurement: the track goes the way that the filter goes at that noise."""
    from mot_occlusion.tracking import tracker as module

    seen_noise, real = [], kalman.update

    def noted(mean, blocks, measurements, **options):
        if options.get("noise") is module.REFINEMENT_NOISE:
            corrected = real(mean, blocks, measurements, **options)
            seen_noise.append((mean, blocks, measurements, corrected))
            return corrected
        return real(mean, blocks, measurements, **options)

    monkeypatch.setattr(module.kalman, "update", noted)
    hidden_person(refine_lost_box="kalman", recovered_overlap=1.0)
    assert seen_noise
    for mean, blocks, measurements, (corrected, _) in seen_noise:
        variance = (4 * mean[:, 3] / 20) ** 2
        gain = blocks[:, 0, 0] / (blocks[:, 0, 0] + variance)
        np.testing.assert_allclose(corrected[:, 0], mean[:, 0] + gain * (measurements[:, 0] - mean[:, 0]))


# What is refused or named --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"conf_threshold": 2}, "conf_threshold is between 0 and 1, got 2"),
        ({"low_threshold": -0.1}, "low_threshold is between 0 and 1"),
        ({"new_threshold": 40}, "new_threshold is between 0 and 1, got 40"),
        ({"occlusion_threshold": 1.5}, "occlusion_threshold is between 0 and 1"),
        ({"recovered_overlap": -1}, "recovered_overlap is between 0 and 1"),
        ({"recovery_window": -3}, "recovery_window is above 0, got -3"),
        ({"recovery_window": float("nan")}, "recovery_window is above 0"),
        ({"measurement_noise": 0}, "measurement_noise is above 0"),
        ({"max_aspect": 0}, "max_aspect is above 0"),
        ({"reid_threshold": -1}, "reid_threshold is 0 or more"),
        ({"iou_threshold": float("inf")}, "iou_threshold is 0 or more"),
        ({"track_buffer": -1}, "track_buffer is 0 or more"),
        ({"min_box_area": -1}, "min_box_area is 0 or more"),
        ({"first": "iou"}, "first is one of published, fused, got iou"),
        ({"frame_rate": 0}, "must be positive"),
    ],
)
def test_options_out_of_their_range_are_refused(option, message):
    with pytest.raises(UserError) as error:
        Tracker(SIZE, **option)
    assert message in str(error.value)


BOXES, SCORES = np.array([box(10, 10), box(200, 10)], float), np.array([0.9, 0.8])


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (Detections(None, SCORES), "frame 1: boxes are None"),
        (Detections(BOXES, None), "frame 1: scores are None"),
        (Detections(np.ones((2, 6)), SCORES), "frame 1: boxes of shape (2, 6): give (N, 4), x1, y1, x2, y2"),
        (Detections(BOXES.reshape(-1), SCORES), "frame 1: boxes of shape (8,)"),
        (
            Detections(BOXES, 100 * SCORES),
            "frame 1: a score of 90: scores are shares in 0 to 1: divide percents by 100",
        ),
        (Detections(BOXES / 800, SCORES), "frame 1: no box coordinate is above 2"),
        (Detections(BOXES, SCORES, None, np.ones((3, 3))), "occlusion centres of shape (3, 3): give (N, 2), x, y"),
        (Detections(BOXES, SCORES, None, np.ones((3, 2)), np.ones(2)), "3 centres but 2 scores of centres"),
        (Detections(BOXES, SCORES, None, np.full((1, 2), np.nan)), "an occlusion centre is not a number"),
        (Detections(BOXES, SCORES, classes=np.ones(3)), "2 boxes but 3 classes"),
        (Detections(BOXES, SCORES, classes=np.array([1, 0.5])), "classes are whole numbers from 0"),
    ],
)
def test_arrays_of_another_kind_are_named_and_change_nothing(bad, message):
    tracker = Tracker(SIZE)
    with pytest.raises(UserError) as error:
        tracker.update(bad)
    assert message in str(error.value)
    assert tracker.update(seen(BOXES)).ids.tolist() == [1, 2]


def test_detections_that_are_all_below_the_threshold_are_named_once(caplog):
    tracker = Tracker(SIZE)
    with caplog.at_level(logging.WARNING):
        for _ in range(200):
            tracker.update(seen([box(10, 10)], 0.3))
    assert [record.getMessage() for record in caplog.records] == [
        "none of the first 100 detections scores above 0.4, so nothing is tracked: lower conf_threshold"
    ]
    caplog.clear()
    tracker = Tracker(SIZE)
    tracker.update(seen([box(10, 10)]))
    for _ in range(200):
        tracker.update(seen([box(10, 10)], 0.3))
    assert not caplog.records


def test_the_published_options_switch_everything_off_that_was_added():
    """What the golden sequences check in numbers: neither default nor addition reaches the published tracker."""
    tracker = Tracker(SIZE, **PUBLISHED)
    assert [stage.cost for stage in tracker.stages] == [stages.appearance] + [stages.overlap] * 3
    assert not any(stage.weak for stage in tracker.stages) and tracker.low_threshold == tracker.conf_threshold
    assert tracker.noise.factors.tolist() == [1.0] * 4 and not tracker.noise.follows
    assert not tracker.noise.relative
    assert tracker.recovered_overlap == 1 and tracker.recovery_window == 1 and tracker.refine_lost_box == "none"
    assert tracker.update(seen([box(1, 1)])).states.tolist() == [TRACKED]
