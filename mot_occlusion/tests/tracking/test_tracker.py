"""The tracker: its filter, its assignment, occlusion, and what whole sequences do."""

import itertools

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from mot_occlusion.detections import Detections
from mot_occlusion.evaluation.simulation import simulate_detections
from mot_occlusion.tracking import LOST, PUBLISHED, TRACKED, Tracker, association, kalman, occlusion
from shared_utils import UserError

SIZE = (600, 800)


def box(x, y, w=40, h=100):
    return [x, y, x + w, y + h]


def detections(boxes, embeddings=None, centres=None, scores=None):
    boxes = np.array(boxes, dtype=np.float32).reshape(-1, 4)
    scores = np.full(len(boxes), 0.9) if scores is None else np.array(scores)
    embeddings = None if embeddings is None else np.array(embeddings, dtype=np.float32)
    return Detections(boxes, scores, embeddings, None if centres is None else np.array(centres).reshape(-1, 2))


# The filter ----------------------------------------------------------------------------------------------------------


def dense_step(mean, covariance, measurement):
    """Predict and update one track with full 8 x 8 algebra."""
    motion, observe = np.eye(8) + np.eye(8, k=4), np.eye(4, 8)
    h = mean[3]
    process = np.diag(np.square([h / 20, h / 20, 1e-2, h / 20, h / 160, h / 160, 1e-5, h / 160]))
    mean, covariance = motion @ mean, motion @ covariance @ motion.T + process
    h = mean[3]
    spread = observe @ covariance @ observe.T + np.diag(np.square([h / 20, h / 20, 1e-1, h / 20]))
    gain = covariance @ observe.T @ np.linalg.inv(spread)
    apart = measurement - observe @ mean
    distance = apart @ np.linalg.inv(spread) @ apart
    return mean + gain @ apart, covariance - gain @ spread @ gain.T, distance


def test_the_closed_form_filter_is_the_dense_one():
    rng = np.random.default_rng(0)
    start = rng.uniform([100, 100, 0.3, 50], [500, 400, 0.6, 150], (7, 4))
    mean, blocks = kalman.initiate(start)
    dense = list(zip(mean.copy(), kalman.covariance_matrices(blocks), strict=True))
    for _ in range(6):
        measured = start + rng.normal(0, [3, 3, 0.01, 2], start.shape)
        mean, blocks = kalman.predict(mean, blocks)
        distances = kalman.gating_distance(mean, blocks, measured)
        mean, blocks = kalman.update(mean, blocks, measured)
        steps = [dense_step(*state, z) for state, z in zip(dense, measured, strict=True)]
        dense = [step[:2] for step in steps]
        np.testing.assert_allclose(np.diag(distances), [step[2] for step in steps], rtol=1e-9)
        np.testing.assert_allclose(mean, [step[0] for step in steps], rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(
            kalman.covariance_matrices(blocks), [step[1] for step in steps], rtol=1e-8, atol=1e-10
        )


def test_more_measurement_noise_moves_a_track_less():
    mean, blocks = kalman.predict(*kalman.initiate(np.array([[100.0, 100, 0.4, 80]])))
    measured = mean[:, :4] + [[10.0, 0, 0, 0]]
    near = kalman.update(mean, blocks, measured)[0][0, 0] - mean[0, 0]
    far = kalman.update(mean, blocks, measured, noise=4.0)[0][0, 0] - mean[0, 0]
    assert 0 < far < near < 10


# Assignment ----------------------------------------------------------------------------------------------------------


def padded_assignment(cost, limit):
    """LAPJV with extend_cost and cost_limit, spelled out: the problem extended by limit / 2, solved as a whole."""
    rows, columns = cost.shape
    extended = np.full((rows + columns, rows + columns), limit / 2)
    extended[rows:, columns:] = 0
    extended[:rows, :columns] = np.where(np.isfinite(cost), cost, 1e6)
    i, j = linear_sum_assignment(extended)
    real = (i < rows) & (j < columns)
    return i[real], j[real]


@pytest.mark.parametrize("seed", range(40))
def test_assignment_is_that_of_the_extended_problem(seed):
    rng = np.random.default_rng(seed)
    cost = rng.uniform(0, 1, rng.integers(1, 13, 2))
    cost[rng.random(cost.shape) < 0.4] = np.inf
    limit = rng.uniform(0.1, 1.2)
    rows, columns = association.assign(cost, limit)
    expected = padded_assignment(cost, limit)
    assert list(zip(rows, columns, strict=True)) == sorted(zip(*expected, strict=True))


def test_a_pair_stays_apart_when_that_lowers_the_total():
    # A threshold after the Hungarian algorithm would match both rows (0.45 + 0.45); matching one of them is cheaper.
    cost = np.array([[0.01, 0.45], [0.45, 0.99]])
    rows, columns = association.assign(cost, 0.5)
    assert (rows.tolist(), columns.tolist()) == ([0], [0])


@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (3, 0)])
def test_nothing_to_assign(shape):
    rows, columns = association.assign(np.zeros(shape), 0.5)
    assert len(rows) == len(columns) == 0


def test_public_detections_claim_in_their_own_order():
    boxes = np.array([box(0, 0), box(200, 0), box(400, 0)], dtype=float)
    public = np.array([box(405, 0), box(4, 0), box(8, 0), box(700, 400)], dtype=float)
    # The third public one finds its nearest detection taken and the next one too far; the fourth claims nobody.
    assert association.claimed_by_public(boxes, public).tolist() == [2, 0]
    assert association.claimed_by_public(boxes[:0], public).tolist() == []


# Occlusion -----------------------------------------------------------------------------------------------------------


def test_a_refined_box_overlaps_at_the_centre_that_was_seen():
    rng = np.random.default_rng(1)
    known = np.array([[100.0, 100, 160, 260]])
    centred = 0
    for _ in range(200):
        true = np.array([[*rng.uniform([60, 60], [150, 200]), 0, 0]])
        true[:, 2:] = true[:, :2] + [50, 150]
        common = occlusion.overlap(known, true)
        if (common[:, 2:] <= common[:, :2]).any():
            continue
        centre = (common[:, :2] + common[:, 2:]) / 2
        refined = occlusion.refine_lost(known, true + rng.normal(0, 4, (1, 1)), centre)
        np.testing.assert_allclose(refined[:, 2:] - refined[:, :2], [[50, 150]])
        again = occlusion.overlap(known, refined)
        centred += np.allclose((again[:, :2] + again[:, 2:]) / 2, centre)
    assert centred > 100


def test_nobody_is_recovered_without_a_centre_in_both_boxes():
    known, lost = np.array([[0.0, 0, 50, 100]]), np.array([[30.0, 0, 80, 100]])
    assert occlusion.recover(known, lost, np.array([[40.0, 50]]))[0].tolist() == [True]
    for centre in ([70.0, 50], [10, 50], [30, 50], [300, 300]):  # the third is on the border of the lost box
        assert occlusion.recover(known, lost, np.array([centre]))[0].tolist() == [False]
    assert occlusion.recover(known[:0], lost, np.array([[40.0, 50]]))[0].tolist() == [False]


# Whole sequences -----------------------------------------------------------------------------------------------------


def test_boxes_alone_are_enough():
    tracker = Tracker(SIZE)
    for step in range(20):
        tracks = tracker.update(detections([box(100 + 3 * step, 200), box(500 - 3 * step, 300)]))
        assert tracks.ids.tolist() == [1, 2] and (tracks.states == TRACKED).all()
    np.testing.assert_allclose(tracks.boxes, [box(157, 200), box(443, 300)], atol=1.0)


def test_a_lost_person_is_found_by_iou_only_when_that_is_fair():
    def identity_after_a_gap(**options):
        tracker = Tracker(SIZE, reid=False, **options)
        for step in range(12):
            tracks = tracker.update(detections([] if 6 <= step < 8 else [box(100 + 2 * step, 200)]))
        return tracks.ids.tolist()

    assert identity_after_a_gap() == [1]
    # Worse: the new track stands where the lost one is, and is dropped as its duplicate, frame after frame.
    assert identity_after_a_gap(**PUBLISHED) == []


def test_embeddings_tell_crossing_people_apart_where_boxes_cannot():
    looks = np.eye(2, 8)

    def ends(with_embeddings):
        tracker = Tracker(SIZE, 30)
        for step in range(40):
            if 15 <= step < 22:  # both hidden, and they turn round in the meantime
                found = detections([], np.empty((0, 8)) if with_embeddings else None)
            else:
                x = 100 + 4 * min(step, 18) - 4 * max(0, step - 18), 240 - 4 * min(step, 18) + 4 * max(0, step - 18)
                found = detections([box(x[0], 200), box(x[1], 200)], looks if with_embeddings else None)
            tracks = tracker.update(found)
        order = np.argsort(tracks.boxes[:, 0])
        return tracks.ids[order].tolist()

    assert ends(True) == [1, 2]
    assert ends(False) != [1, 2]


def hidden_walk(window=30, centres=True, **options):
    """Two people meet; the second is hidden for 12 frames behind the first. The states of person 2 over the frames."""
    tracker, states = Tracker(SIZE, recovery_window=window, **({"recovered_overlap": 1.0} | options)), []
    for step in range(40):
        first, second = box(300, 200, 60, 140), box(200 + 4 * step, 210, 50, 130)
        seen = [first] if 18 <= step < 30 else [first, second]
        overlap = occlusion.overlap(np.array(first, float), np.array(second, float))
        meets = (overlap[2:] > overlap[:2]).all() and centres
        spots = [(overlap[:2] + overlap[2:]) / 2] if meets else []
        tracks = tracker.update(detections(seen, np.eye(2, 8)[: len(seen)], spots))
        states.append(int(tracks.states[tracks.ids == 2][0]) if 2 in tracks.ids else 0)
    return states


def test_occlusion_centres_keep_hidden_people_in_sight():
    states = hidden_walk()
    assert states[18:30].count(LOST) >= 10 and states[-1] == TRACKED
    assert hidden_walk(centres=False)[18:30].count(LOST) == 0
    assert hidden_walk(occlusion=False)[18:30].count(LOST) == 0


@pytest.mark.parametrize("window", [1, 3, 6])
def test_the_recovery_window_bounds_how_long(window):
    assert hidden_walk(window)[18:30].count(LOST) == window + 1


def test_a_window_below_one_is_in_seconds():
    assert Tracker(SIZE, 20, recovery_window=0.5).recovery_window == 10
    assert Tracker(SIZE, 20, recovery_window=0.001).recovery_window == 1


@pytest.mark.parametrize("refinement", ["output", "kalman", "centre"])
def test_refinement_moves_recovered_boxes_towards_the_truth(refinement):
    def error(refine):
        tracker, errors = Tracker(SIZE, refine_lost_box=refine, recovered_overlap=1.0, recovery_window=10), []
        for step in range(36):
            # It slows down while it is hidden, which no motion model can know, but the centre of the overlap tells.
            x = 200 + 4 * min(step, 20) + 1.5 * max(0, step - 20)
            first, second = box(280, 200, 60, 140), box(x, 205, 50, 130)
            seen = [first] if step >= 20 else [first, second]
            common = occlusion.overlap(np.array(first, float), np.array(second, float))
            spots = [(common[:2] + common[2:]) / 2] if (common[2:] > common[:2]).all() else []
            tracks = tracker.update(detections(seen, np.eye(2, 8)[: len(seen)], spots))
            hidden = (tracks.ids == 2) & (tracks.states == LOST)
            errors += np.abs(tracks.boxes[hidden] - second).mean(1).tolist()
        assert len(errors) > 5
        return np.mean(errors)

    assert error(refinement) < 0.8 * error("none")


def crowd(num_people=12, frames=50, seed=3):
    from mot_occlusion.data.mot_format import Rows

    rng = np.random.default_rng(seed)
    start, speed = rng.uniform([50, 50], [700, 400], (num_people, 2)), rng.normal(0, 3, (num_people, 2))
    place = start + speed * np.arange(frames)[:, None, None]
    count = frames * num_people
    return Rows(
        np.repeat(np.arange(1, frames + 1), num_people),
        np.tile(np.arange(num_people), frames),
        np.concatenate([place.reshape(-1, 2), np.tile([40.0, 100.0], (count, 1))], axis=1),
        np.ones(count),
        np.ones(count, dtype=np.int64),
        np.where(rng.random(count) < 0.1, 0.1, 1.0),
    )


def rows_of(tracker, frames):
    return [np.column_stack([t.ids, t.states, t.boxes.round(6)]) for t in map(tracker.update, frames)]


def test_a_tracker_goes_on_from_its_state_as_if_nothing_had_happened():
    frames = simulate_detections(crowd(), 50, SIZE, 0)
    unbroken = rows_of(Tracker(SIZE), frames)
    first, second = Tracker(SIZE), Tracker(SIZE)
    begun = rows_of(first, frames[:23])
    second.load_state_dict(first.state_dict())
    resumed = begun + rows_of(second, frames[23:])
    assert all(np.array_equal(a, b) for a, b in zip(unbroken, resumed, strict=True))


def test_the_length_of_embeddings_does_not_matter_and_zero_ones_do_no_harm():
    frames = simulate_detections(crowd(), 50, SIZE, 0)
    scaled = [frame._replace(embeddings=7 * frame.embeddings) for frame in frames]
    ours, theirs = rows_of(Tracker(SIZE), frames), rows_of(Tracker(SIZE), scaled)
    assert all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))
    nothing = [frame._replace(embeddings=0 * frame.embeddings) for frame in frames]
    assert sum(map(len, rows_of(Tracker(SIZE), nothing))) > 200


def test_what_ends_leaves_nothing_behind():
    tracker, rng = Tracker(SIZE), np.random.default_rng(0)
    for _ in range(600):  # nobody stays: everybody is somebody new
        found = [box(*rng.uniform([0, 0], [700, 400])) for _ in range(5)]
        tracker.update(detections(found, rng.standard_normal((5, 8)), rng.uniform(0, 500, (3, 2))))
    assert tracker.next_id > 2000
    assert len(tracker._rows.ids) <= 512 and len(tracker.tracked) + len(tracker.lost) < 300


def test_frames_without_anything_and_ids_from_one():
    tracker = Tracker(SIZE)
    for _ in range(3):
        assert len(tracker.update(detections([])).ids) == 0
    for _ in range(2):
        tracks = tracker.update(detections([box(10, 10)]))
    assert tracks.ids.tolist() == [1]


def test_only_boxes_that_can_be_people_in_the_image_count():
    found = [box(100, 100), box(900, 100), box(100, 650), box(-200, 100), box(100, -300), box(100, 300, 0, 0)]
    tracks = Tracker(SIZE).update(detections(found))
    assert tracks.boxes.round(3).tolist() == [box(100, 100)]
    # The published code compares y with the width: what lies below a wide image gets in.
    assert len(Tracker(SIZE, published_bounds=True).update(detections(found)).ids) == 2


def test_reported_boxes_are_clipped_and_filtered():
    found = [box(-20, 100), box(300, 100, 5, 10), box(500, 100, 100, 50)]
    tracks = Tracker(SIZE, clip_boxes=True, min_box_area=100).update(detections(found))
    assert tracks.boxes.tolist() == [[0, 100, 20, 200]]


BOXES, SCORES = np.array([box(10, 10), box(200, 10)], float), np.array([0.9, 0.8])


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (Detections(BOXES, SCORES[:1]), "frame 1: 2 boxes but 1 scores: give one score a box"),
        (Detections(np.array([box(1, 1), [np.nan] * 4]), SCORES), "frame 1: box 1 is not a number"),
        (Detections(BOXES, np.array([0.9, np.inf])), "frame 1: box 1 is not a number"),
        (Detections(BOXES, SCORES, np.ones((3, 8))), "2 boxes but embeddings of shape (3, 8)"),
        (Detections(BOXES, SCORES, np.full((2, 8), np.nan)), "an embedding is not a number"),
    ],
)
def test_arrays_that_do_not_fit_are_named_and_change_nothing(bad, message):
    tracker = Tracker(SIZE)
    with pytest.raises(UserError) as error:
        tracker.update(bad)
    assert message in str(error.value)
    assert tracker.update(detections(BOXES)).ids.tolist() == [1, 2]


def test_embeddings_keep_their_size():
    tracker = Tracker(SIZE)
    tracker.update(detections([box(10, 10)], np.ones((1, 8))))
    with pytest.raises(UserError, match="embeddings of 16 values after ones of 8"):
        tracker.update(detections([box(10, 10)], np.ones((1, 16))))


def test_embeddings_may_begin_late_and_pause():
    tracker = Tracker(SIZE)
    for step in range(12):
        look = np.eye(1, 8) if step in (3, 4, 8, 9) else None
        tracks = tracker.update(detections([box(10 + step, 10)], look))
    assert tracks.ids.tolist() == [1]


def test_options_that_mean_nothing_are_refused():
    for options in ({"image_size": (0, 5)}, {"image_size": SIZE, "frame_rate": 0}):
        with pytest.raises(UserError, match="must be positive"):
            Tracker(**options)
    with pytest.raises(UserError, match="one of none, output, kalman, centre, got yes"):
        Tracker(SIZE, refine_lost_box="yes")


def test_tracking_needs_no_torch():
    import subprocess
    import sys

    program = "import sys; from mot_occlusion import Detections, Tracker; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_every_combination_of_inputs_runs():
    frames = simulate_detections(crowd(), 50, SIZE, 0)
    for embeddings, centres in itertools.product((True, False), repeat=2):
        tracker = Tracker(SIZE)
        for frame in frames:
            changes = ({} if embeddings else {"embeddings": None}) | ({} if centres else {"centres": None})
            tracks = tracker.update(frame._replace(**changes))
        assert len(tracks.ids) > 5


@pytest.mark.parametrize("seed", range(3))
def test_the_published_way_spelled_out_gives_the_same(seed):
    """Another implementation, object by object with full matrices, that shares only the assignment (see benchmarks/)."""
    import sys

    from conftest import PROJECT

    sys.path.insert(0, str(PROJECT / "benchmarks"))
    from published_tracker import PublishedTracker

    rng = np.random.default_rng(seed)
    options = {"window": int(rng.integers(1, 8)), "buffer": int(rng.integers(3, 20)), "reid": rng.uniform(0.2, 0.6)}
    theirs = PublishedTracker(SIZE, **options)
    changes = {"recovery_window": options["window"], "track_buffer": options["buffer"]}
    ours = Tracker(SIZE, reid_threshold=options["reid"], **(PUBLISHED | changes))
    recovered = 0
    for frame in simulate_detections(crowd(25, 80, seed), 80, SIZE, seed):
        rows, tracks = theirs.update(frame.boxes, frame.scores, frame.embeddings, frame.centres), ours.update(frame)
        assert np.array_equal(rows[:, [0, 6]], np.column_stack([tracks.ids, tracks.states]))
        np.testing.assert_allclose(rows[:, 1:5], tracks.boxes, atol=1e-6)
        recovered += (tracks.states == LOST).sum()
    assert recovered > 0
