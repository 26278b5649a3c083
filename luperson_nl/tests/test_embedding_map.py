"""t-SNE keeps groups together, and is repeatable."""

import numpy as np
import pytest

from luperson_nl.embedding_map import principal_components, tsne


@pytest.fixture(scope="module")
def groups():
    rng = np.random.default_rng(0)
    centres = 4 * rng.standard_normal((4, 12))
    return np.repeat(np.arange(4), 12), (centres[:, None] + rng.standard_normal((4, 12, 12))).reshape(48, 12)


def test_neighbours_on_the_map_are_of_the_same_group(groups):
    labels, features = groups
    places = tsne(features, perplexity=8, steps=200)
    distance = ((places[:, None] - places[None]) ** 2).sum(2)
    np.fill_diagonal(distance, np.inf)
    assert (labels[distance.argmin(1)] == labels).mean() > 0.95


def test_the_same_features_give_the_same_map(groups):
    _, features = groups
    assert np.array_equal(tsne(features, steps=20), tsne(features, steps=20))


def test_equal_rows_and_one_dimension_are_no_problem():
    assert np.isfinite(tsne(np.ones((5, 1)), steps=10)).all()


def test_principal_components_keep_distances_when_all_are_kept(groups):
    _, features = groups
    kept = principal_components(features, 12)
    assert np.linalg.norm(kept[0] - kept[1]) == pytest.approx(np.linalg.norm(features[0] - features[1]))
