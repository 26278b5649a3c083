"""Laws of the geometry: neighbours against brute force, normals against planes and spheres, frames against algebra."""

import math

import pytest
import torch
import torch.nn.functional as F

from shared_utils import UserError
from si_adv import geometry
from si_adv.geometry import (
    ball_query,
    estimate_normals,
    farthest_point_sampling,
    from_tangent,
    gather,
    knn,
    knn_features,
    pairwise_squared_distances,
    project_to_tangent,
    tangent_basis,
    to_tangent,
)


@pytest.fixture
def clouds():
    return torch.rand(3, 300, 3, generator=torch.Generator().manual_seed(0)) * 2 - 1


def unit_normals(count, scale=(1.0, 1.0, 1.0)):
    generator = torch.Generator().manual_seed(1)
    return F.normalize(torch.randn(count, 3, generator=generator) * torch.tensor(scale), dim=-1)


SPECIAL_NORMALS = torch.tensor(
    [
        [0, 0, 1],
        [0, 0, -1],
        [1, 0, 0],
        [-1, 0, 0],
        [0, 1, 0],
        [0, -1, 0],
        [-0.0, -0.0, 1],
        [-0.0, 1, -0.0],
        [1, -0.0, 0],
    ]
)


# Neighbours


@pytest.mark.parametrize("backend", ["scipy", "torch"])
def test_neighbours_are_those_of_brute_force_nearest_first(clouds, backend):
    query = clouds[:, :50] + 0.01
    distances, indices = knn(query, clouds, 7, backend=backend)
    exact = (query[:, :, None].double() - clouds[:, None].double()).square().sum(-1)
    expected = exact.sort(-1)
    assert (indices == expected.indices[..., :7]).all()
    torch.testing.assert_close(distances, expected.values[..., :7].float(), rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("backend", ["scipy", "torch"])
def test_a_point_is_its_own_nearest_neighbour_at_distance_exactly_zero(clouds, backend):
    distances, indices = knn(clouds, clouds, 1, backend=backend)
    assert (distances == 0).all()
    assert (indices[..., 0] == torch.arange(300)).all()


def test_neighbours_do_not_depend_on_the_chunks_of_the_search(clouds, monkeypatch):
    whole = knn(clouds, clouds, 5, backend="torch")
    monkeypatch.setattr(geometry, "_CHUNK_ENTRIES", 3 * 300 * 7)
    parts = knn(clouds, clouds, 5, backend="torch")
    assert (whole[0] == parts[0]).all() and (whole[1] == parts[1]).all()


def test_distances_of_neighbours_carry_no_gradient(clouds):
    distances, _ = knn(clouds.requires_grad_(), clouds, 3)
    assert not distances.requires_grad


@pytest.mark.parametrize("k", [0, 301])
def test_k_outside_the_cloud_is_refused(clouds, k):
    with pytest.raises(ValueError, match="k must lie in 1..300"):
        knn(clouds, clouds, k)


def test_channels_first_clouds_are_refused(clouds):
    with pytest.raises(ValueError, match=r"must have shape \(B, N, 3\)"):
        knn(clouds.transpose(1, 2), clouds, 3)


def test_an_unknown_backend_is_named_with_the_known_ones(clouds):
    with pytest.raises(UserError, match="'open3d': choose auto, torch, scipy or pytorch3d"):
        knn(clouds, clouds, 3, backend="open3d")


def test_pytorch3d_agrees_with_the_default_or_is_named_as_missing(clouds):
    if not geometry._has_pytorch3d():
        with pytest.raises(UserError, match="pytorch3d is not installed"):
            knn(clouds, clouds, 3, backend="pytorch3d")
        return
    ours, theirs = knn(clouds, clouds, 20), knn(clouds, clouds, 20, backend="pytorch3d")
    torch.testing.assert_close(ours[0], theirs[0])
    assert (ours[1].sort(-1).values == theirs[1].sort(-1).values).all()


@pytest.mark.parametrize(("num_points", "channels"), [(100, 16), (1024, 64)])
def test_feature_graph_is_that_of_all_distances(num_points, channels):
    x = torch.randn(2, channels, num_points, generator=torch.Generator().manual_seed(0))
    rows = x.transpose(1, 2).double()
    expected = torch.cdist(rows, rows, compute_mode="donot_use_mm_for_euclid_dist").topk(20, largest=False).indices
    assert (knn_features(x, 20) == expected).float().mean() > 0.9999


def test_pairwise_distances_differentiate_as_finite_differences_do():
    generator = torch.Generator().manual_seed(0)
    query = torch.rand(2, 3, 3, dtype=torch.float64, generator=generator, requires_grad=True)
    reference = torch.rand(2, 4, 3, dtype=torch.float64, generator=generator, requires_grad=True)
    assert torch.autograd.gradcheck(pairwise_squared_distances, (query, reference))


def test_gather_takes_rows_and_returns_their_gradient():
    values = torch.arange(12.0).view(2, 3, 2).requires_grad_()
    indices = torch.tensor([[[0, 2]], [[1, 1]]])
    rows = gather(values, indices)
    assert rows.tolist() == [[[[0, 1], [4, 5]]], [[[8, 9], [8, 9]]]]
    rows.sum().backward()
    assert values.grad[..., 0].tolist() == [[1, 0, 1], [0, 2, 0]]


def test_ball_holds_the_first_points_by_index_padded_with_the_first(clouds):
    centres = clouds[:, ::10]
    indices = ball_query(clouds, centres, 0.4, 8)
    for cloud, balls, cloud_centres in zip(clouds, indices, centres, strict=True):
        for ball, centre in zip(balls, cloud_centres, strict=True):
            inside = ((cloud - centre).square().sum(-1) <= 0.4**2).nonzero()[:8, 0].tolist()
            assert ball.tolist() == inside + inside[:1] * (8 - len(inside))


def test_an_empty_ball_is_padded_with_index_zero(clouds):
    assert (ball_query(clouds, torch.full((3, 2, 3), 9.0), 0.1, 4) == 0).all()


# Farthest point sampling


def test_every_sample_is_the_farthest_from_those_before_it(clouds):
    chosen = farthest_point_sampling(clouds, 20)
    assert (chosen[:, 0] == 0).all()
    for cloud, samples in zip(clouds, chosen, strict=True):
        for count in range(1, 20):
            distance = (cloud[:, None] - cloud[samples[:count]]).square().sum(-1).amin(1)
            assert distance[samples[count]] == distance.max()


def test_both_implementations_of_the_sampling_agree(clouds):
    first = torch.tensor([[0], [5], [7]])
    assert (geometry._fps_numpy(clouds, first, 64) == geometry._fps_torch(clouds, first, 64)).all()


def test_starts_of_the_sampling(clouds):
    far = (clouds - clouds.mean(1, keepdim=True)).norm(dim=-1).argmax(1)
    assert (farthest_point_sampling(clouds, 4, start="far")[:, 0] == far).all()
    torch.manual_seed(0)
    starts = {int(farthest_point_sampling(clouds[:1], 1, start="random")) for _ in range(20)}
    assert len(starts) > 10
    with pytest.raises(UserError, match="choose first, random or far"):
        farthest_point_sampling(clouds, 4, start="middle")


def test_sampling_leaves_the_cloud_as_it_was(clouds):
    before = clouds.clone()
    farthest_point_sampling(clouds, 50)
    assert (clouds == before).all()


# Normals


def test_normals_of_a_tilted_plane_are_its_normal():
    generator = torch.Generator().manual_seed(0)
    normal = F.normalize(torch.tensor([1.0, -2.0, 0.5]), dim=0)
    basis = tangent_basis(normal)
    points = torch.rand(1, 200, 2, generator=generator) @ basis[:2]
    assert (estimate_normals(points) @ normal).abs().min() > 1 - 1e-6


def test_normals_of_a_sphere_are_radial():
    points = unit_normals(4000)[None]
    cosine = (estimate_normals(points) * points).sum(-1).abs()
    assert cosine.mean() > 0.999


def test_normals_equal_those_of_an_eigenvalue_decomposition(clouds):
    normals = estimate_normals(clouds, k=12)
    _, indices = knn(clouds, clouds, 12)
    neighbours = gather(clouds.double(), indices)
    centred = neighbours - neighbours.mean(2, keepdim=True)
    values, vectors = torch.linalg.eigh(centred.transpose(2, 3) @ centred)
    separated = values[..., 1] - values[..., 0] > 1e-3 * values[..., 2]
    cosine = (normals.double() * vectors[..., 0]).sum(-1).abs()
    assert separated.float().mean() > 0.99
    assert cosine[separated].min() > 1 - 1e-6


def test_normals_have_length_one_where_all_directions_are_alike():
    corners = torch.tensor([[x, y, z] for x in (-1.0, 1.0) for y in (-1.0, 1.0) for z in (-1.0, 1.0)])[None]
    lengths = estimate_normals(corners, k=8).norm(dim=-1)
    torch.testing.assert_close(lengths, torch.ones(1, 8))


@pytest.mark.parametrize(
    "points",
    [
        torch.zeros(30, 3),
        torch.tensor([[0.0, 0, 0], [1, 2, 3]]).repeat(15, 1),
        torch.linspace(0, 1, 30)[:, None] * torch.tensor([1.0, 2, 3]),
    ],
    ids=["one point", "two points", "a line"],
)
def test_normals_are_zero_where_the_points_define_none(points):
    assert (estimate_normals(points[None] + 0.3) == 0).all()


def test_normals_of_a_cloud_do_not_depend_on_its_batch(clouds):
    together = estimate_normals(clouds)
    alone = torch.cat([estimate_normals(cloud[None]) for cloud in clouds])
    torch.testing.assert_close((together * alone).sum(-1).abs(), torch.ones(3, 300), rtol=0, atol=1e-6)


def test_normals_of_a_cloud_smaller_than_the_neighbourhood_use_all_its_points():
    points = torch.tensor([[[0.0, 0, 1], [1, 0, 1], [0, 1, 1], [1, 1, 1]]])
    assert (estimate_normals(points, k=20)[..., 2].abs() == 1).all()


# The tangent frame


def all_normals():
    return torch.cat((unit_normals(100_000), unit_normals(10_000, (0.01, 0.01, 1.0)), SPECIAL_NORMALS))


def test_frames_are_orthonormal_with_the_normal_last():
    normals = all_normals()
    basis = tangent_basis(normals)
    assert (basis @ basis.mT - torch.eye(3)).abs().max() < 1e-6
    assert (basis[:, 2] - normals).abs().max() < 1e-6


def test_round_trip_returns_every_point():
    normals = all_normals()
    points = torch.rand(len(normals), 3, generator=torch.Generator().manual_seed(0)) * 2 - 1
    restored = from_tangent(*to_tangent(points, normals))
    assert (restored - points).abs().max() < 1e-6


def test_frames_follow_the_published_formula():
    x, y, z = F.normalize(unit_normals(1000, (1.0, 1.0, 0.5)).double(), dim=-1).unbind(-1)
    d = (1 - z * z).sqrt()
    zero = torch.zeros_like(x)
    published = torch.stack((y / d, -x / d, zero, x * z / d, y * z / d, -d, x, y, z), -1).view(-1, 3, 3)
    torch.testing.assert_close(tangent_basis(torch.stack((x, y, z), -1)), published)
    root = math.sqrt(0.5)
    for z in (1.0, -1.0):
        pole = torch.tensor([[root, -root, 0], [z * root, z * root, 0], [0, 0, z]])
        torch.testing.assert_close(tangent_basis(torch.tensor([0.0, 0.0, z])), pole)


def test_third_coordinate_is_twice_the_distance_from_the_plane():
    normals, points = unit_normals(100), torch.rand(100, 3)
    transformed, _, _ = to_tangent(points, normals)
    torch.testing.assert_close(transformed[:, 2], 2 * (points * normals).sum(-1), rtol=1e-5, atol=1e-6)


def test_gradient_in_tangent_coordinates_is_the_rotated_gradient():
    normals, points = unit_normals(50), torch.rand(50, 3)
    transformed, basis, translation = to_tangent(points, normals)
    transformed.requires_grad_()
    weights = torch.rand(50, 3)
    (from_tangent(transformed, basis, translation) * weights).sum().backward()
    torch.testing.assert_close(transformed.grad, (basis @ weights[..., None])[..., 0])


def test_projection_is_the_round_trip_without_the_third_coordinate():
    normals, vectors = all_normals(), torch.rand(len(all_normals()), 3) - 0.5
    basis = tangent_basis(normals)
    tangent = (basis @ vectors[..., None])[..., 0] * torch.tensor([1.0, 1.0, 0.0])
    projected = project_to_tangent(vectors, normals)
    torch.testing.assert_close(projected, (basis.mT @ tangent[..., None])[..., 0], rtol=0, atol=1e-6)
    assert (projected * normals).sum(-1).abs().max() < 1e-6


def test_projection_does_not_depend_on_the_sign_of_the_normals():
    normals, vectors = unit_normals(100), torch.rand(100, 3)
    assert (project_to_tangent(vectors, normals) == project_to_tangent(vectors, -normals)).all()


def test_a_zero_normal_gives_a_zero_frame_and_spoils_no_other():
    normals = torch.stack((torch.zeros(3), torch.tensor([0.0, 1.0, 0.0])))
    basis = tangent_basis(normals)
    assert (basis[0] == 0).all()
    assert (basis[1] == tangent_basis(normals[1])).all()
