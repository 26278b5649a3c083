import numpy as np
import pytest
import torch

from shared_utils import UserError
from si_adv.data.families import FAMILIES, procedural_mesh
from si_adv.data.procedural import ProceduralShapes
from si_adv.data.sample import sample_triangles


@pytest.mark.parametrize("family", FAMILIES)
def test_points_lie_on_the_mesh_and_normals_are_those_of_its_faces(family):
    triangles = procedural_mesh(family, np.random.default_rng(3))
    points, normals = sample_triangles(triangles, 400, np.random.default_rng(0))
    a, b, c = triangles.transpose(1, 0, 2)
    cross = np.cross(b - a, c - a)
    faces = cross / np.linalg.norm(cross, axis=1, keepdims=True).clip(1e-30)
    # In the plane of a face, on the same side of its three edges, and with that face's normal.
    offset = np.abs(np.einsum("pfi,fi->pf", points[:, None] - a, faces))
    inside = np.ones_like(offset, bool)
    for start, end in ((a, b), (b, c), (c, a)):
        edge = np.cross(end - start, points[:, None] - start)
        inside &= np.einsum("pfi,fi->pf", edge, faces) > -1e-9
    same_normal = normals @ faces.T > 1 - 1e-9
    assert ((offset < 1e-9) & inside & same_normal).any(1).all()


def test_points_are_uniform_by_area():
    small = np.array([[[0, 0, 0], [1, 0, 0], [0, 1, 0]]], float)
    triangles = np.concatenate((small, 3 * small + 10))  # areas 1 : 9
    points, _ = sample_triangles(triangles, 20000, np.random.default_rng(0))
    assert (points[:, 0] < 5).mean() == pytest.approx(0.1, abs=0.01)
    # Uniform within a triangle: the centroid is the mean, and a quarter lies beyond the midpoint of an edge.
    large = points[points[:, 0] > 5]
    np.testing.assert_allclose(large.mean(0), (11, 11, 10), atol=0.03)
    assert (large[:, 0] > 11.5).mean() == pytest.approx(0.25, abs=0.015)


def test_prisms_and_surfaces_face_outwards():
    # By the divergence theorem the volume of a closed, outward surface is the sum of its signed tetrahedra.
    for family in ("bottle", "chair", "bookshelf"):
        a, b, c = procedural_mesh(family, np.random.default_rng(1)).transpose(1, 0, 2)
        assert np.einsum("ij,ij->i", a, np.cross(b, c)).sum() > 0


def test_a_cloud_depends_on_seed_split_and_index_alone():
    clouds = ProceduralShapes("train", 40)
    again = ProceduralShapes("train", 4000)
    assert torch.equal(clouds[17].points, again[17].points)
    assert torch.equal(clouds[17].normals, again[17].normals)
    others = (clouds[27], ProceduralShapes("test", 40)[17], ProceduralShapes("train", 40, seed=1)[17])
    assert all(not torch.equal(clouds[17].points, other.points) for other in others)


def test_the_same_numbers_on_every_machine():
    sample = ProceduralShapes("test", 10)[3]
    assert sample.name == "chair_00003"
    np.testing.assert_allclose(sample.points[0].numpy(), (-0.1299656, -0.2675125, -0.0018197), atol=1e-6)


def test_clouds_are_normalised_and_balanced():
    clouds = ProceduralShapes("val", 30, num_points=256)
    for sample in clouds:
        assert sample.points.shape == sample.normals.shape == (256, 3)
        assert sample.points.dtype == sample.normals.dtype == torch.float32
        assert sample.points.mean(0).abs().max() < 1e-6
        assert sample.points.norm(dim=1).max() == pytest.approx(1, abs=1e-6)
        np.testing.assert_allclose(sample.normals.norm(dim=1).numpy(), 1, atol=1e-6)
    assert np.bincount(clouds.labels).tolist() == [3] * 10
    assert [sample.label for sample in clouds] == clouds.labels.tolist()
    assert len(clouds.class_names) == 10


def test_noise_moves_points_by_its_share_of_the_radius():
    clean, noisy = ProceduralShapes("train", 10, noise=0.0)[4], ProceduralShapes("train", 10, noise=0.01)[4]
    moved = (noisy.points - clean.points).numpy()
    # Normalised anew after the noise, which can shrink the cloud by some percent of its radius.
    residual = moved - clean.points.numpy() * (moved * clean.points.numpy()).sum() / (clean.points.numpy() ** 2).sum()
    assert residual.std() == pytest.approx(0.01, rel=0.1)


def test_an_unknown_split_is_refused():
    with pytest.raises(UserError, match="validation"):
        ProceduralShapes("validation")
    with pytest.raises(IndexError):
        ProceduralShapes("test", 5)[5]
