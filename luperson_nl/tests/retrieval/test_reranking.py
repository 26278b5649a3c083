"""Re-ranking, expansion and the nearest entries against their definitions with whole tables."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from luperson_nl import retrieval
from luperson_nl.retrieval import Features, Reranked, nearest


def benchmark():
    """The published way, as the benchmark writes it out."""
    place = Path(__file__).parents[2] / "benchmarks/retrieval.py"
    spec = importlib.util.spec_from_file_location("benchmark_of_retrieval", place)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def directions(count, seed, persons=25, dim=12):
    draw = np.random.default_rng(seed)
    centres = np.random.default_rng(0).standard_normal((persons, dim))
    array = centres[draw.integers(persons, size=count)] + 0.4 * draw.standard_normal((count, dim))
    return (array / np.linalg.norm(array, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize(("k1", "k2"), [(20, 6), (7, 1), (3, 8)])
def test_sparse_reranking_equals_the_published_tables(k1, k2):
    query, gallery = directions(30, 1), directions(270, 2)
    both = np.concatenate([query, gallery])
    by_tables = benchmark().by_tables
    sparse = Reranked(query, gallery, k1, k2)
    expected = by_tables(1 - both @ both.T, 30, k1, k2)
    np.testing.assert_allclose(sparse.of(slice(None)), expected, atol=1e-6)
    np.testing.assert_allclose(sparse.of(np.array([7, 3])), expected[[7, 3]], atol=1e-6)
    euclidean = np.sqrt(np.maximum(((both[:, None] - both) ** 2).sum(2), 0))
    expected = by_tables(euclidean, 30, k1, k2)
    np.testing.assert_allclose(
        Reranked(query, gallery, k1, k2, distance="euclidean").of(slice(None)), expected, atol=2e-6
    )


def test_fewer_features_than_neighbours_are_reranked_too():
    assert np.isfinite(Reranked(directions(2, 1), directions(5, 2)).of(slice(None))).all()


def test_expansion_is_the_weighted_mean_of_the_nearest():
    query, gallery = 2 * directions(8, 1), 3 * directions(40, 2)
    both = np.concatenate([query, gallery])
    unit = both / np.linalg.norm(both, axis=1, keepdims=True)
    cosine = unit @ unit.T
    near = np.argsort(-cosine, axis=1, kind="stable")[:, :5]
    weight = np.take_along_axis(cosine, near, 1)[..., None] ** 3
    expected = (both[near] * weight).mean(1)
    expanded = np.concatenate(retrieval.expand(query, gallery, 5))
    np.testing.assert_allclose(expanded, expected, atol=1e-5)


def test_reranking_and_expansion_change_the_scores_of_an_evaluation():
    draw = np.random.default_rng(3)
    query = Features(directions(30, 1), draw.integers(0, 9, 30), np.zeros(30, int))
    gallery = Features(directions(90, 2), draw.integers(0, 9, 90), np.ones(90, int))
    plain = retrieval.evaluate_retrieval(query, gallery).mAP
    changed = [
        retrieval.evaluate_retrieval(query, gallery, **given).mAP
        for given in ({"rerank": True}, {"rerank": True, "rerank_distance": "euclidean"}, {"expansion": 5})
    ]
    assert len({plain, *changed}) == 4


@pytest.mark.parametrize("count", [1, 3, 50])
@pytest.mark.parametrize("levels", [0, 5])
def test_the_nearest_are_those_of_a_stable_sort(count, levels):
    distances = np.random.default_rng(4).random((9, 50), dtype=np.float32)
    distances = np.round(distances * levels) if levels else distances
    distances[4, 5:] = np.inf
    column, value = nearest(distances, count)
    np.testing.assert_array_equal(column, np.argsort(distances, axis=1, kind="stable")[:, :count])
    np.testing.assert_array_equal(value, np.take_along_axis(distances, column, 1))
