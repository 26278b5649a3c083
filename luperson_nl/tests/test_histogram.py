"""Colour histograms: invariant to what they should be, and no more."""

import numpy as np
import pytest

from luperson_nl import histogram
from luperson_nl.histogram import Bins


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (3, 16, 8, 3), dtype=np.uint8)


def test_features_have_unit_length_and_a_place_for_every_bin(images):
    found = histogram.features(images, Bins(4, 8, 2, 2))
    assert found.shape == (3, 4 * 8 * 2 * 2)
    assert np.linalg.norm(found, axis=1) == pytest.approx(1)


def test_mixing_pixels_within_a_stripe_changes_nothing_and_across_stripes_does(images):
    bins = Bins(2, 8, 2, 2)
    within, across = images.copy(), images[:, ::-1]
    within[:, :8] = within[:, :8][:, ::-1, ::-1]
    assert np.array_equal(histogram.features(images, bins), histogram.features(within, bins))
    assert not np.allclose(histogram.features(images, bins), histogram.features(across, bins))


def test_the_margin_hides_the_sides(images):
    changed = images.copy()
    changed[:, :, [0, 1, 6, 7]] = 0
    bins = Bins(2, 8, 2, 2, 0.25)
    assert np.array_equal(histogram.features(images, bins), histogram.features(changed, bins))
