import pytest
import torch
from attack_toys import NUM_CLASSES, Counting, predicted, toy_clouds

from si_adv import metrics
from si_adv.attacks import Adapted, HopSkipJump, ShapeInvariantHopSkipJump


@pytest.fixture(scope="module")
def clouds():
    return toy_clouds(3, 64)


def labels_only(victim):
    return Adapted(lambda given: victim(given).argmax(1), num_classes=NUM_CLASSES)


def test_only_the_label_is_used(victim, clouds):
    labels = predicted(victim, clouds[0])
    with_scores = HopSkipJump(victim, max_queries=300).run(clouds[0], labels)
    with_labels = HopSkipJump(labels_only(victim), max_queries=300).run(clouds[0], labels)
    assert with_labels.success.all()
    assert torch.equal(with_scores.adv, with_labels.adv)
    assert torch.equal(with_scores.prediction, with_labels.prediction)


def test_every_query_counts_and_the_budget_holds(victim, clouds):
    labels, counting = predicted(victim, clouds[0]), Counting(victim)
    for budget in (1, 2, 57, 200):
        counting.clouds = 0
        result = HopSkipJump(counting, max_queries=budget).run(clouds[0], labels)
        assert result.queries.tolist() == [budget] * 3
        assert result.queries.sum() == counting.clouds
        assert torch.equal(predicted(victim, result.adv) != labels, result.success)
        assert torch.equal(predicted(victim, result.adv), result.prediction)


def test_more_queries_come_nearer(victim, clouds):
    labels, found = predicted(victim, clouds[0]), {}
    for budget in (60, 300, 1500):
        result = HopSkipJump(victim, max_queries=budget).run(clouds[0], labels)
        assert result.success.all()
        found[budget] = metrics.l2(result.adv, clouds[0])
    assert (found[1500] <= found[300]).all() and (found[300] <= found[60]).all()
    assert found[1500].mean() < 0.5 * found[60].mean()


def test_the_walk_ends_near_the_nearest_point_of_a_flat_boundary():
    """A linear victim: the nearest misclassified cloud is known."""
    weight = torch.randn(3, 40, generator=torch.Generator().manual_seed(0))

    def linear(clouds):
        score = (clouds * weight).sum((1, 2))
        return torch.stack((torch.zeros_like(score), score - 3.0), 1)

    cloud = torch.zeros(1, 40, 3)
    result = HopSkipJump(linear, max_queries=4000).run(cloud, torch.tensor([0]))
    nearest = 3.0 / torch.linalg.vector_norm(weight)
    assert result.success.all()
    assert nearest <= metrics.l2(result.adv, cloud) < 1.25 * nearest


def test_along_the_surface_every_point_stays_in_its_tangent_plane(victim, clouds):
    points, normals = clouds
    normals = normals.clone()
    normals[:, :5] = 0  # without a normal: kept still
    result = ShapeInvariantHopSkipJump(victim, max_queries=400).run(points, predicted(victim, points), normals)
    assert result.success.any()
    moved = result.adv - points
    assert (moved * normals).sum(-1).abs().max() < 1e-5
    assert moved[:, :5].abs().max() < 1e-6
    assert moved[:, 5:].abs().amax() > 1e-3
    assert result.undefined_normals.tolist() == [5] * 3


def test_a_goal_reached_before_the_attack_costs_one_query(victim, clouds):
    wrong = (predicted(victim, clouds[0]) + 1) % NUM_CLASSES
    result = HopSkipJump(victim, max_queries=50).run(clouds[0], wrong)
    assert result.initial_success.all() and result.queries.tolist() == [1] * 3
    assert torch.equal(result.adv, clouds[0])
