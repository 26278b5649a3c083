"""Ranks and scores against a stable sort of every row, written out."""

import numpy as np
import pytest

from luperson_nl import retrieval
from luperson_nl.retrieval import Features, Matches
from luperson_nl.retrieval.ranks import ranks
from shared_utils import UserError


def by_sorting(distances, query, gallery, trapezoid=False, max_rank=50):
    """(mAP, mINP, cmc, ap) the plain way."""
    ap, inp = np.full(len(query), np.nan), []
    cmc = np.zeros(max_rank)
    for q, row in enumerate(distances):
        order = np.argsort(row, kind="stable")
        same = (gallery.pid[order] == query.pid[q]) & (query.pid[q] != -1)
        kept = ~(same & (gallery.camera[order] == query.camera[q]))
        rank = np.flatnonzero(same[kept]) + 1
        if not len(rank):
            continue
        i = np.arange(1, len(rank) + 1)
        precision = i / rank
        if trapezoid:
            before = np.where(rank == 1, 1.0, (i - 1) / np.maximum(rank - 1, 1))
            precision = (precision + before) / 2
        ap[q] = precision.mean()
        inp.append(len(rank) / rank[-1])
        cmc[rank[0] - 1 :] += 1
    total = len(query) if trapezoid else len(inp)
    return np.nansum(ap) / total, np.sum(inp) / total, cmc / total, ap


def people(count, seed, persons=9, cameras=3, dim=6, **more):
    draw = np.random.default_rng(seed)
    array = draw.standard_normal((count, dim)).astype(np.float32)
    return Features(array, draw.integers(-1, persons, count), draw.integers(0, cameras, count), **more)


@pytest.mark.parametrize("steps", [0, 40, 3])
@pytest.mark.parametrize("protocol", ["fastreid", "market-trapezoid"])
@pytest.mark.parametrize("width", [12, 160])
def test_scores_equal_a_stable_sort_with_ties_junk_and_distractors(steps, protocol, width):
    query, gallery = people(25, 0, persons=14), people(width, 1)
    if protocol == "market-trapezoid":
        gallery = gallery[gallery.pid != -1]
    distances = np.random.default_rng(2).random((25, len(gallery)), dtype=np.float32)
    distances = np.floor(distances * steps) / np.float32(steps) if steps else distances
    before = distances.copy()
    matches = Matches(query.pid, query.camera, gallery.pid, gallery.camera)
    parts = [distances[:7], distances[7:8], distances[8:]]
    scores = retrieval.rank_scores(parts, matches, 25, protocol)
    mean_ap, mean_inp, cmc, ap = by_sorting(distances, query, gallery, protocol == "market-trapezoid")
    assert np.array_equal(distances, before)
    np.testing.assert_allclose([scores.mAP, scores.mINP], [mean_ap, mean_inp], rtol=1e-12)
    np.testing.assert_allclose(scores.cmc, cmc)  # of a gallery of 12 the last value is repeated up to 50
    np.testing.assert_allclose(scores.ap, ap)
    assert scores.valid == np.isfinite(ap).sum() < scores.queries == 25


def test_equal_distances_rank_by_their_index():
    row = np.array([0.5, 0.2, 0.5, 0.5, 0.1, 0.5], np.float32)
    assert ranks(row, np.array([2, 5]), np.array([], int)).tolist() == [4, 6]
    assert ranks(row, np.array([2, 5]), np.array([0, 4])).tolist() == [2, 4]


def test_chunks_do_not_change_the_scores():
    query, gallery = people(30, 3), people(90, 4)
    whole = retrieval.evaluate_retrieval(query, gallery, roc=True)
    scores = retrieval.evaluate_retrieval(query, gallery, roc=True, chunk=7)
    assert scores.row() == whole.row() and np.array_equal(scores.cmc, whole.cmc)


def test_tpr_is_a_point_of_the_curve():
    query, gallery = people(200, 5, dim=3), people(300, 6, dim=3)
    tpr = retrieval.evaluate_retrieval(query, gallery, roc=True).tpr
    both = query.normalised(), gallery.normalised()
    distances = 1 - both[0].array @ both[1].array.T
    same = (query.pid[:, None] == gallery.pid) & (query.pid[:, None] != -1)
    used = ~(same & (query.camera[:, None] == gallery.camera)) & (same & (query.camera[:, None] != gallery.camera)).any(
        1, keepdims=True
    )
    different, right = np.sort(distances[used & ~same]), distances[used & same]
    for rate, value in tpr.items():
        count = int(rate * len(different))
        assert abs(value - (right < different[count]).mean()) < 2 / len(right) + 1e-3


def test_the_own_picture_never_counts_and_same_camera_pictures_only_on_request():
    array = np.eye(4, dtype=np.float32)[[0, 0, 1, 1]] + 0.1
    pictures = Features(array, np.array([0, 0, 1, 1]), np.zeros(4, int), paths=np.array(list("abcd")))
    with pytest.raises(UserError, match=r"none of 4 queries .* share the query's camera: .* --same_camera keep"):
        retrieval.evaluate_retrieval(pictures, pictures)
    scores = retrieval.evaluate_retrieval(pictures, pictures, same_camera="keep")
    assert scores.mAP == 1 and scores.valid == 4


def test_a_gallery_without_the_persons_is_an_error():
    query, gallery = people(5, 7), people(20, 8)
    other = Features(gallery.array, gallery.pid + 100, gallery.camera)
    with pytest.raises(UserError, match="no picture of the gallery has the person of any query"):
        retrieval.evaluate_retrieval(query, other)


@pytest.mark.parametrize(("value", "words"), [(np.nan, "NaN or infinite"), (0, "nothing but zeros")])
def test_features_without_a_direction_are_named(value, words):
    query, gallery = people(5, 7), people(20, 8, paths=np.array([f"{i}.jpg" for i in range(20)]))
    query = Features(query.array, query.pid, query.camera, paths=np.array(list("abcde")))
    gallery.array[3] = value
    with pytest.raises(UserError, match=f"1 of 25 features hold {words}.*3.jpg"):
        retrieval.evaluate_retrieval(query, gallery)


def test_features_of_two_models_and_ragged_arrays_are_errors():
    query = people(5, 7)
    with pytest.raises(UserError, match="6 dimensions, those of the gallery 4"):
        retrieval.evaluate_retrieval(query, people(20, 8, dim=4))
    with pytest.raises(UserError, match="'camera' has the shape"):
        Features(query.array, query.pid, query.camera[:3])


def test_single_shot_is_the_mean_over_galleries_of_one_picture_a_person():
    query, gallery = people(40, 9, persons=12), people(200, 10, persons=12)
    scores = retrieval.evaluate_retrieval(query, gallery, "single-shot", max_rank=13)
    whole = retrieval.evaluate_retrieval(query, gallery, max_rank=13)
    assert scores.mAP == whole.mAP and np.array_equal(scores.ap, whole.ap, equal_nan=True)
    distances = 1 - query.normalised().array @ gallery.normalised().array.T
    draw, first = np.random.default_rng(0), np.zeros(13)
    matches = Matches(query.pid, query.camera, gallery.pid, gallery.camera)
    of_person = [np.flatnonzero(gallery.pid == person) for person in np.unique(gallery.pid)]
    for q in range(40):
        right, _ = matches.of(q)
        for _ in range(40 * bool(len(right))):
            drawn = [its[draw.integers(len(its))] for its in of_person if gallery.pid[its[0]] != query.pid[q]]
            first[(distances[q, drawn] < distances[q, right[draw.integers(len(right))]]).sum()] += 1
    np.testing.assert_allclose(scores.cmc, first.cumsum() / first.sum(), atol=0.08)
    again = retrieval.evaluate_retrieval(query, gallery, "single-shot", max_rank=13, seed=1)
    assert not np.array_equal(again.cmc, scores.cmc) and scores.cmc[-1] == 1
