"""The evaluator, against py-motmetrics, against spelled-out definitions, and its laws."""

import numpy as np
import pytest
from scenes import random_sequence, rows
from scipy.optimize import linear_sum_assignment

from mot_occlusion.evaluation import combine, evaluate_sequence, measure, prepare, preset_of, scores
from mot_occlusion.evaluation.accumulator import evaluate_like
from mot_occlusion.evaluation.pairs import heaviest_matching, overlapping_pairs
from shared_utils import UserError


def iou_matrix(first, second):
    low = np.maximum(first[:, None, :2], second[:, :2])
    high = np.minimum((first[:, :2] + first[:, 2:])[:, None], second[:, :2] + second[:, 2:])
    common = np.clip(high - low, 0, None).prod(2)
    return common / (first[:, 2:].prod(1)[:, None] + second[:, 2:].prod(1) - common)


# Overlaps and matchings ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cells", [10, 60_000])
def test_pairs_are_the_overlapping_ones_of_every_frame(cells, monkeypatch):
    from mot_occlusion.evaluation import pairs as module

    monkeypatch.setattr(module, "_CELLS", cells)
    gt, results = random_sequence(0)
    pairs = overlapping_pairs(gt.boxes, gt.starts(40), results.boxes, results.starts(40))
    iou = np.where(gt.frames[:, None] == results.frames, iou_matrix(gt.boxes, results.boxes), 0)
    i, j = np.nonzero(iou)
    assert np.array_equal(np.sort(pairs.gt * 10_000 + pairs.results), np.sort(i * 10_000 + j))
    np.testing.assert_allclose(pairs.iou, iou[pairs.gt, pairs.results], rtol=1e-12)


def test_boxes_without_area_overlap_nothing():
    pairs = overlapping_pairs(
        np.array([[0.0, 0, 0, 10], [0, 0, 10, 10]]), np.array([0, 2]), np.ones((1, 4)), np.array([0, 1])
    )
    assert pairs.gt.tolist() == [1]


@pytest.mark.parametrize("seed", range(30))
def test_the_heaviest_matching_is_that_of_one_dense_assignment(seed):
    rng = np.random.default_rng(seed)
    dense = rng.uniform(0.01, 1, (8, 9)) * (rng.random((8, 9)) < 0.35)
    i, j = np.nonzero(dense)
    chosen = heaviest_matching(i, j, dense[i, j], np.zeros(len(i), dtype=int))
    assert len(set(i[chosen])) == len(set(j[chosen])) == chosen.sum()
    best = dense[linear_sum_assignment(dense, maximize=True)].sum()
    assert dense[i[chosen], j[chosen]].sum() == pytest.approx(best, abs=1e-12)


# Against py-motmetrics -----------------------------------------------------------------------------------------------


def motmetrics_table(gt, results, num_frames):
    """py-motmetrics' summary; its own IoU calls a function that numpy 2 removed, so distances are given."""
    motmetrics = pytest.importorskip("motmetrics")
    accumulator = motmetrics.MOTAccumulator()
    for frame in range(1, num_frames + 1):
        a, b = gt.frames == frame, results.frames == frame
        if not (a.any() or b.any()):
            continue
        distance = 1 - iou_matrix(gt.boxes[a], results.boxes[b])
        distance[distance > 0.5] = np.nan
        accumulator.update(gt.ids[a], results.ids[b], distance, frameid=frame)
    host = motmetrics.metrics.create()
    return host.compute(accumulator, metrics=list(host.names), return_dataframe=False)


@pytest.mark.parametrize("seed", range(6))
def test_motmetrics_numbers_by_its_convention(seed):
    gt, results = random_sequence(seed)
    theirs = motmetrics_table(gt, results, 40)
    ours = evaluate_like("motmetrics", gt, results, 40, "mot15")
    assert {name: ours[name] for name in ours} == pytest.approx({name: theirs[name] for name in ours}, abs=1e-12)


@pytest.mark.parametrize("seed", range(6))
def test_both_kits_agree_where_their_definitions_do(seed):
    gt, results = random_sequence(seed)
    theirs = motmetrics_table(gt, results, 40)
    ours = evaluate_sequence(gt, results, 40, "mot15")
    same = {"IDF1": "idf1", "IDTP": "idtp", "IDFN": "idfn", "IDFP": "idfp"}
    assert {name: ours[name] for name in same} == pytest.approx({name: theirs[other] for name, other in same.items()})


# Definitions spelled out ---------------------------------------------------------------------------------------------


def hota_spelled_out(gt, results, num_frames):
    """HOTA by loops over frames and thresholds, as its paper defines it."""
    gt_names, a = np.unique(gt.ids, return_inverse=True)
    names, b = np.unique(results.ids, return_inverse=True)
    shared = np.zeros((len(gt_names), len(names)))
    frames = []
    for frame in range(1, num_frames + 1):
        i, j = np.flatnonzero(gt.frames == frame), np.flatnonzero(results.frames == frame)
        iou = iou_matrix(gt.boxes[i], results.boxes[j])
        below = iou.sum(0)[None] + iou.sum(1)[:, None] - iou
        shared[np.ix_(a[i], b[j])] += np.divide(iou, below, out=np.zeros_like(iou), where=below > 0)
        frames.append((i, j, iou))
    lengths = np.bincount(a)[:, None] + np.bincount(b)[None]
    alignment = shared / (lengths - shared)
    curve = []
    for alpha in np.arange(0.05, 0.99, 0.05):
        matches, tp = np.zeros_like(shared), 0
        for i, j, iou in frames:
            x, y = linear_sum_assignment(-alignment[np.ix_(a[i], b[j])] * iou)
            for m, n in zip(x, y, strict=True):
                if iou[m, n] >= alpha - np.finfo(float).eps:
                    tp += 1
                    matches[a[i[m]], b[j[n]]] += 1
        association = (matches**2 / np.maximum(1, lengths - matches)).sum() / max(1, tp)
        curve.append(np.sqrt(tp / max(1, len(gt.ids) + len(results.ids) - tp) * association))
    return curve


@pytest.mark.parametrize("seed", range(4))
def test_hota_is_its_definition(seed):
    gt, results = random_sequence(seed)
    np.testing.assert_allclose(
        evaluate_sequence(gt, results, 40, "mot15")["curves"]["HOTA"], hota_spelled_out(gt, results, 40), rtol=1e-12
    )


def test_a_perfect_tracker_scores_one():
    gt, _ = random_sequence(0)
    found = evaluate_sequence(gt, gt, 40, "mot15")
    for name in ("HOTA", "DetA", "AssA", "LocA", "MOTA", "MOTP", "IDF1"):
        assert found[name] == pytest.approx(1, abs=1e-9)
    assert found["IDSW"] == found["CLR_FP"] == found["CLR_FN"] == 0


def test_names_of_identities_and_order_of_rows_do_not_matter():
    gt, results = random_sequence(2)
    shuffled = results.select(np.random.default_rng(0).permutation(len(results.ids)))
    renamed = shuffled._replace(ids=5000 - shuffled.ids)
    renamed = renamed.select(np.argsort(renamed.frames, kind="stable"))
    ours, theirs = (evaluate_sequence(gt, one, 40, "mot15") for one in (results, renamed))
    ours.pop("curves"), theirs.pop("curves")
    assert ours == pytest.approx(theirs, abs=1e-12)


def test_frames_without_results_are_misses():
    gt, results = random_sequence(1)
    halved = results.select(results.frames <= 20)
    found = evaluate_sequence(gt, halved, 40, "mot15")
    later = (gt.frames > 20).sum()
    first = evaluate_sequence(gt.select(gt.frames <= 20), halved, 20, "mot15")
    assert found["CLR_FN"] == first["CLR_FN"] + later
    assert found["IDFN"] == first["IDFN"] + later
    assert found["HOTA_FN"] == pytest.approx(first["HOTA_FN"] + later)
    # The published evaluator walks only the frames that have results: there they cost nothing.
    published = evaluate_like("published", gt, halved, 40, "mot15")
    assert published["num_misses"] < found["CLR_FN"] - later + 1


@pytest.mark.parametrize("empty", ["gt", "results", "both"])
def test_one_side_may_be_empty(empty):
    gt, results = random_sequence(0)
    gt = gt.select(gt.frames < 0) if empty in ("gt", "both") else gt
    results = results.select(results.frames < 0) if empty in ("results", "both") else results
    found = evaluate_sequence(gt, results, 40, "mot15")
    assert found["CLR_FN"] == found["IDFN"] == len(gt.ids) and found["CLR_FP"] == found["IDFP"] == len(results.ids)
    assert found["HOTA"] == 0 and found["ML"] == len(np.unique(gt.ids))


def test_sequences_are_combined_by_their_counts():
    sequences = [prepare(*random_sequence(seed), 40, "mot15") for seed in range(3)]
    measured = [measure(one) for one in sequences]
    total, each = scores(combine(measured)), [scores(one) for one in measured]
    for name in ("CLR_TP", "CLR_FN", "CLR_FP", "IDSW", "IDTP", "MT", "ML"):
        assert total[name] == sum(one[name] for one in each)
    tp = np.array([one["curves"]["HOTA_TP"] for one in each])
    assert total["curves"]["AssA"] == pytest.approx(
        (np.array([one["curves"]["AssA"] for one in each]) * tp).sum(0) / tp.sum(0)
    )
    gt_boxes = total["CLR_TP"] + total["CLR_FN"]
    assert total["MOTA"] == pytest.approx((total["CLR_TP"] - total["CLR_FP"] - total["IDSW"]) / gt_boxes)


# Preprocessing -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("preset", "removed"), [("mot17", {2, 7, 8, 12}), ("mot20", {2, 6, 7, 8, 12}), ("mot15", set())]
)
def test_results_on_distractors_are_taken_out(preset, removed):
    for label in range(1, 14):
        gt = rows([1, 1], [1, 2], [[0, 0, 10, 10], [100, 0, 10, 10]], classes=[1, label])
        results = rows([1, 1], [5, 6], [[0, 0, 10, 10], [101, 0, 10, 10]])
        sequence = prepare(gt, results, 1, preset)
        assert len(sequence.ids) == (1 if label in removed else 2), label
        assert len(sequence.gt_ids) == (2 if label == 1 or preset == "mot15" else 1)


def test_a_person_before_a_distractor_keeps_its_result():
    # Both overlap the result by more than a half; it is matched to the person, so it stays.
    gt = rows([1, 1], [1, 2], [[0, 0, 10, 10], [2, 0, 10, 10]], classes=[1, 8])
    assert len(prepare(gt, rows([1], [1], [[0, 0, 10, 10]]), 1, "mot17").ids) == 1
    assert len(prepare(gt, rows([1], [1], [[2, 0, 10, 10]]), 1, "mot17").ids) == 0


def test_ground_truth_that_is_not_to_be_considered_is_left_out():
    gt = rows([1, 1], [1, 2], [[0, 0, 10, 10], [50, 0, 10, 10]], scores=[1, 0])
    for preset in ("mot15", "mot16", "mot17", "mot20"):
        assert len(prepare(gt, rows([], [], []), 1, preset).gt_ids) == 1


def test_the_benchmark_is_known_by_name_or_by_classes():
    plain, classed = random_sequence(0)[0], random_sequence(0, with_classes=True)[0]
    assert preset_of("MOT20-01", plain) == "mot20" and preset_of("MOT16-02", plain) == "mot16"
    assert preset_of("PETS09-S2L1", plain) == "mot15" and preset_of("CROWD-01", classed) == "mot17"


def test_rows_beyond_the_sequence_are_an_error():
    gt, results = random_sequence(0)
    with pytest.raises(
        UserError, match=r"a\.txt: ground truth has frame 40, but the sequence has 30: the lengths disagree"
    ):
        prepare(gt, results, 30, "mot15", "a.txt")


@pytest.mark.parametrize(
    ("gt_class", "found", "expected"),
    [
        (
            7,
            2,
            {"MOTA": 0, "MLR": 1, "CLR_FP": 0, "HOTA": 0, "LocA": 1, "IDF1": 0},
        ),  # a distractor takes its match along
        (1, 0, {"MOTA": 0, "MLR": 1, "CLR_FN": 2, "ML": 1, "HOTA": 0, "LocA": 1, "HOTA_FN": 2, "IDFN": 2}),
        (9, 2, {"MOTA": 0, "MLR": 1, "CLR_FP": 2, "FP_per_frame": 0, "HOTA_FP": 2, "IDFP": 2, "LocA": 1}),
        (9, 0, {"MOTA": 0, "MLR": 1, "ML": 0, "HOTA": 0, "LocA": 1}),
    ],
)
def test_what_preprocessing_leaves_empty_scores_as_the_official_kit_scores_it(gt_class, found, expected):
    """TrackEval answers early where either side is empty: zeros, LocA 1, MLR 1, and the count of the other side."""
    boxes = [[0, 0, 10, 30]] * 2
    gt = rows([1, 2], [1, 1], boxes, classes=[gt_class] * 2)
    results = rows([1, 2][:found], [1, 1][:found], boxes[:found])
    scored = evaluate_sequence(gt, results, 3, "mot17")
    assert {name: scored[name] for name in expected} == expected
