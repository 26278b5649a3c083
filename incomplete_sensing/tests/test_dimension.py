"""Estimates of the intrinsic dimension."""

import logging

import numpy as np
import pytest

from incomplete_sensing.dimension import estimate_dimension, mle_dimension, neighbour_distances, two_nn_dimension
from shared_utils import UserError


@pytest.mark.parametrize("k", [1, 2, 4])
def test_interval_covers_the_dimension_of_a_cube_in_a_larger_space(k):
    rng = np.random.default_rng(k)
    samples = rng.random((3000, k)) @ np.linalg.qr(rng.standard_normal((12, 12)))[0][:k]
    found = estimate_dimension(samples)
    # Estimates read a little low at the faces of the cube, more so in more dimensions.
    assert found.low < k * 1.02 and found.high > k * 0.95
    assert found.low < found.k < found.high


def test_estimates_ignore_scale_and_place():
    samples = np.random.default_rng(0).standard_normal((500, 3))
    moved = 1e3 * samples + 5
    assert mle_dimension(moved) == pytest.approx(mle_dimension(samples), rel=1e-9)
    assert two_nn_dimension(moved) == pytest.approx(two_nn_dimension(samples), rel=1e-9)


def test_distances_are_exact_for_close_pairs_far_from_the_origin():
    base = np.random.default_rng(0).standard_normal((100, 4)) + 1e4
    samples = np.concatenate([base, base + 1e-6])
    distances = neighbour_distances(samples, 2, chunk=30)
    np.testing.assert_allclose(distances[:, 0], 2e-6, rtol=1e-4)


def test_repeated_samples_are_left_out_and_said(caplog):
    samples = np.random.default_rng(0).standard_normal((200, 3))
    with caplog.at_level(logging.WARNING):
        assert mle_dimension(np.concatenate([samples, samples[:20]])) == mle_dimension(samples)
    assert "20 of 220 samples repeat" in caplog.text


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (np.zeros((50, 3)), "1 different samples"),
        (np.eye(5), "20 neighbours need at least 21"),
        (np.full((50, 3), np.nan), "50 samples hold NaN"),
        (np.zeros(50), r"expected \(N, n\)"),
    ],
)
def test_unusable_samples_are_named(samples, message):
    with pytest.raises(UserError, match=message):
        estimate_dimension(samples)
