import pytest
import torch
from attack_toys import toy_clouds, toy_victim

from si_adv import losses
from si_adv.defences import SOR


@pytest.fixture
def outputs():
    return torch.tensor([[4.0, 1.0, 3.0, -2.0, 0.5, 2.5, 0.0], [0.0, 5.0, 4.5, 1.0, -1.0, 3.0, 2.0]])


def test_margin_is_the_label_minus_the_best_other(outputs):
    labels = torch.tensor([0, 2])
    assert losses.output_margin(outputs, labels).tolist() == [1.0, -0.5]
    assert losses.margin_loss(outputs, labels).tolist() == [1.0, 0.0]
    assert losses.margin_loss(outputs, labels, floor=-999).tolist() == [1.0, -0.5]
    assert losses.margin_loss(outputs, labels, floor=2.5).tolist() == [2.5, 2.5]


def test_confidence_is_added_to_the_margin_and_the_floor_is_not(outputs):
    labels = torch.tensor([0, 2])
    assert losses.margin_loss(outputs, labels, confidence=2.0).tolist() == [3.0, 1.5]
    assert losses.margin_loss(outputs, labels, confidence=0.25).tolist() == [1.25, 0.0]


def test_a_targeted_loss_descends_towards_the_label(outputs):
    assert losses.margin_loss(outputs, torch.tensor([2, 1]), targeted=True).tolist() == [1.0, 0.0]


def test_top_five_asks_for_the_fifth_best_of_the_others(outputs):
    # The others of label 0 in order: 3, 2.5, 1, 0.5, 0, -2.
    assert losses.output_margin(outputs, torch.tensor([0, 1]), top_k=5).tolist() == [4.0, 5.0]


def test_logits_and_log_probabilities_give_the_same_loss(outputs):
    labels = torch.tensor([0, 2])
    for top_k in (1, 5):
        shifted = losses.margin_loss(outputs.log_softmax(1), labels, -999, top_k=top_k)
        torch.testing.assert_close(shifted, losses.margin_loss(outputs, labels, -999, top_k=top_k))


def test_the_loss_is_flat_below_its_floor(outputs):
    outputs.requires_grad_()
    (gradient,) = torch.autograd.grad(losses.margin_loss(outputs, torch.tensor([0, 2])).sum(), outputs)
    expected = torch.zeros_like(gradient)
    expected[0, 0], expected[0, 2] = 1, -1
    assert torch.equal(gradient, expected)


def test_a_margin_needs_another_class(outputs):
    with pytest.raises(ValueError, match="top_k must lie in 1..6 for 7 classes, got 7"):
        losses.output_margin(outputs, torch.tensor([0, 2]), top_k=7)


def test_the_gradient_through_a_defence_is_that_of_finite_differences():
    victim = toy_victim(3).double()
    points = toy_clouds(1, 64)[0].double()
    labels = torch.tensor([1])

    def loss(points):
        return losses.margin_loss(victim(SOR()(points.transpose(1, 2))), labels, floor=-999).sum()

    points.requires_grad_()
    (gradient,) = torch.autograd.grad(loss(points), points)
    assert (gradient != 0).any(-1).sum() > 5
    step = 1e-6
    for point in gradient[0].norm(dim=-1).argsort(descending=True)[:5].tolist():
        for axis in range(3):
            shift = torch.zeros_like(points)
            shift[0, point, axis] = step
            with torch.no_grad():
                numeric = (loss(points + shift) - loss(points - shift)) / (2 * step)
            # Rounding of float64 over the step: 1e-16 / 1e-6, times the size of the outputs.
            assert abs(numeric - gradient[0, point, axis]) < 1e-6


def test_knn_distance_counts_straying_points_only():
    grid = torch.cartesian_prod(*[torch.arange(4.0)] * 3)[None]
    stray = torch.cat((grid, torch.tensor([[[10.0, 1.5, 1.5]]])), 1)
    # The lone point is 7 away from the face; the five nearest are the four of its middle and one more.
    to_grid = (stray[0, -1] - grid[0]).square().sum(-1).sort().values[:5].mean()
    torch.testing.assert_close(losses.knn_distance(stray), to_grid[None] / 65)


def test_shape_terms_have_the_gradient_of_finite_differences():
    points, normals = toy_clouds(2, 20)
    points, normals = points.double(), normals.double()
    clean = points + 0.01 * torch.randn(points.shape, generator=torch.Generator().manual_seed(0), dtype=points.dtype)
    curvature = losses.local_curvature(clean, normals, 6)
    moving = points.clone().requires_grad_()
    terms = {
        "knn_distance": losses.knn_distance,
        "nearest_squared_distances": lambda p: losses.nearest_squared_distances(p, clean),
        "nearest_from_clean": lambda p: losses.nearest_squared_distances(clean, p),
        "curvature_consistency": lambda p: losses.curvature_consistency(p, clean, normals, curvature, 6),
        "l2_distance": lambda p: losses.l2_distance(p, clean),
    }
    for term in terms.values():
        assert torch.autograd.gradcheck(term, (moving,), eps=1e-7, atol=1e-5)


def test_farthest_distance_sums_the_diameters_of_the_clusters():
    clusters = torch.zeros(1, 2, 3, 3)
    clusters[0, 0, 1, 0], clusters[0, 0, 2, 0] = 1.0, 3.0
    clusters[0, 1, 2] = torch.tensor([3.0, 4.0, 0.0])
    torch.testing.assert_close(losses.farthest_distance(clusters), torch.tensor([8.0]), atol=1e-6, rtol=0)


def test_a_plane_has_no_curvature_whichever_way_its_normals_point():
    plane = torch.rand(1, 60, 3, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 1.0, 0.0])
    normals = torch.zeros_like(plane)
    normals[..., 2] = torch.where(torch.arange(60) % 2 == 0, 1.0, -1.0)
    assert losses.local_curvature(plane, normals).abs().max() == 0
    tilted = torch.zeros_like(plane)
    tilted[..., 0] = 1
    assert losses.local_curvature(plane, tilted).min() > 0.3


def test_a_clean_cloud_is_consistent_with_itself():
    points, normals = toy_clouds(2)
    curvature = losses.local_curvature(points, normals)
    assert losses.curvature_consistency(points, points, normals, curvature).abs().max() == 0


def test_clipping_brings_back_what_left_and_leaves_the_rest():
    clean = toy_clouds(2)[0]
    moved = clean + torch.randn(clean.shape, generator=torch.Generator().manual_seed(1))
    boxed = losses.clip_linf(moved, clean, 0.5)
    assert ((boxed - clean).abs() <= 0.5 + 1e-6).all()
    inside = ((moved - clean).abs() <= 0.5).all(-1)
    torch.testing.assert_close(boxed[inside], moved[inside])
    ball = losses.clip_l2(moved, clean, 2.0)
    torch.testing.assert_close((ball - clean).flatten(1).norm(dim=1), torch.tensor([2.0, 2.0]))
    near = clean + 1e-3
    torch.testing.assert_close(losses.clip_l2(near, clean, 2.0), near)


def test_points_that_move_inwards_are_brought_to_the_tangent_plane():
    clean, normals = toy_clouds(2)
    moved = clean + 0.1 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(2))
    along = ((moved - clean) * normals).sum(-1)
    projected = losses.project_inner(moved, clean, normals)
    after = ((projected - clean) * normals).sum(-1)
    assert after[along < 0].abs().max() < 1e-6
    torch.testing.assert_close(projected[along >= 0], moved[along >= 0])
    sideways = (moved - clean) - along[..., None] * normals
    torch.testing.assert_close((projected - clean)[along < 0], sideways[along < 0], atol=1e-6, rtol=0)
