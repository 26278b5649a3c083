"""From points to a model-ready cloud."""

import numpy as np
import pytest

from si_adv.data.files import read_cloud
from si_adv.data.sample import Geometry, complete_normals, normalise, prepare_cloud

RNG = np.random.default_rng(0)
POINTS = RNG.standard_normal((50, 3)).astype(np.float32)
NORMALS = POINTS / np.linalg.norm(POINTS, axis=1, keepdims=True)


def test_normalise_centres_on_the_mean_with_largest_radius_one():
    scaled, centre, radius = normalise(POINTS * 7.0 + 3.0)
    np.testing.assert_allclose(scaled.mean(0), 0, atol=1e-6)
    assert np.linalg.norm(scaled, axis=1).max() == pytest.approx(1)
    np.testing.assert_allclose(scaled * radius + centre, POINTS * 7.0 + 3.0, rtol=1e-5, atol=1e-5)


def test_missing_normals_are_estimated_and_others_kept(caplog, tmp_path):
    sphere = NORMALS.astype(np.float32)
    given = sphere.copy()
    given[5:9] = 0
    completed = complete_normals(sphere, given)
    np.testing.assert_array_equal(np.delete(completed, range(5, 9), 0), np.delete(given, range(5, 9), 0))
    np.testing.assert_allclose(np.linalg.norm(completed[5:9], axis=1), 1, atol=1e-5)
    np.save(tmp_path / "cloud.npy", POINTS)
    with caplog.at_level("INFO"):
        sample = read_cloud(tmp_path / "cloud.npy", 50)
    assert "has no normals: estimated" in caplog.text
    np.testing.assert_allclose(sample.normals.norm(dim=1).numpy(), 1, atol=1e-5)


def test_normals_are_made_unit_and_broken_ones_zero():
    normals = NORMALS * 3
    normals[4] = np.nan
    _, prepared = prepare_cloud(POINTS, normals, None, "cloud")
    np.testing.assert_allclose(np.delete(prepared, 4, 0), np.delete(NORMALS, 4, 0), atol=1e-6)
    assert not prepared[4].any()


def test_geometry_defaults_to_a_bare_cloud():
    assert Geometry(POINTS)[1:] == (None, None, False)
