"""The distance to the true surface is that to the nearest of all points of all triangles."""

import numpy as np
import pytest

from si_adv.data.procedural import ProceduralShapes
from si_adv.surface import distance_to_triangles

TRIANGLE = np.array([[(0.0, 0, 0), (2, 0, 0), (0, 2, 0)]])


@pytest.mark.parametrize(
    ("point", "distance"),
    [
        ((0.5, 0.5, 0.3), 0.3),  # above the face
        ((0.5, 0.5, -0.3), 0.3),  # on the other side
        ((1, -0.4, 0.3), 0.5),  # beside an edge
        ((-3, -4, 0), 5),  # beyond a corner
        ((2, 2, 0), 2**0.5),  # across the long edge
        ((3, 0, 0), 1),  # on the line of an edge, beyond its end
        ((0.2, 0.2, 0), 0),
    ],
)
def test_face_edges_and_corners_by_hand(point, distance):
    assert distance_to_triangles(np.array([point]), TRIANGLE) == pytest.approx([distance], abs=1e-12)
    assert distance_to_triangles(np.array([point]), TRIANGLE[:, ::-1]) == pytest.approx([distance], abs=1e-12)


def test_triangles_without_area_are_segments_and_points():
    segment, dot = np.array([[(0.0, 0, 0), (1, 0, 0), (3, 0, 0)]]), np.ones((1, 3, 3))
    points = np.array([(2.0, 1, 0), (5, 0, 0), (1, 1, 2)])
    np.testing.assert_allclose(distance_to_triangles(points, segment), (1, 2, 5**0.5))
    np.testing.assert_allclose(distance_to_triangles(points, dot), (2**0.5, 18**0.5, 1))


def test_among_triangles_of_all_sizes_the_nearest_counts():
    """Against a dense sampling of every triangle, which can only be farther, and by no more than its spacing."""
    rng = np.random.default_rng(0)
    triangles = rng.standard_normal((60, 1, 3)) + rng.standard_normal((60, 3, 3)) * rng.uniform(0.01, 3, (60, 1, 1))
    points = rng.standard_normal((40, 3)) * 2
    u, v = np.meshgrid(np.linspace(0, 1, 60), np.linspace(0, 1, 60))
    weights = np.stack((u, v, 1 - u - v), -1)[u + v <= 1 + 1e-9]
    samples = np.einsum("wc,tcx->twx", weights, triangles).reshape(-1, 3)
    brute = np.array([np.linalg.norm(samples - point, axis=1).min() for point in points])
    ours = distance_to_triangles(points, triangles)
    assert (ours <= brute + 1e-12).all() and (brute - ours).max() < 0.1 and np.median(brute - ours) < 5e-3
    # Alone, every triangle is at least as far: nothing nearer was left out.
    alone = np.min([distance_to_triangles(points, triangle[None]) for triangle in triangles], axis=0)
    np.testing.assert_allclose(ours, alone, atol=1e-12)


def test_shapes_know_the_surface_that_their_clouds_lie_on():
    clean, noisy = ProceduralShapes("test", 10, 256, noise=0.0), ProceduralShapes("test", 10, 256, noise=0.01)
    for index in range(10):
        on = distance_to_triangles(clean[index].points.numpy(), clean.surface(index))
        off = distance_to_triangles(noisy[index].points.numpy(), noisy.surface(index))
        assert on.max() < 1e-6  # float32 coordinates
        assert 0.002 < off.mean() < 0.012


def test_what_is_no_surface_is_refused():
    with pytest.raises(ValueError, match=r"T > 0"):
        distance_to_triangles(np.zeros((2, 3)), np.zeros((0, 3, 3)))
