import pytest
import torch
from attack_toys import NUM_CLASSES, Counting, predicted, toy_clouds

from si_adv import losses, metrics
from si_adv.attacks import CW, IFGM, KNN, Drop, GeoA3, build_attack
from si_adv.attacks.base import cloud_generators, draw_normal

SHORT = {"iterations": 40, "learning_rate": 0.01, "micro_batch": 8}


@pytest.fixture(scope="module")
def clouds():
    return toy_clouds(6)


def test_a_descent_is_that_of_torch_adam(victim, clouds, labels):
    """Written out for one descent: all clouds of the batch under one optimiser, every iterate looked at."""
    points = clouds[0]
    result = CW(victim, iterations=30, search_steps=1, weight=0.5, early_stop=False, micro_batch=8).run(points, labels)
    moving = points + 1e-7 * draw_normal(cloud_generators(0, torch.arange(6)), points.shape[1:], points)
    moving.requires_grad_()
    optimiser = torch.optim.Adam([moving], lr=0.01)
    nearest, best = torch.full((6,), torch.inf), points.clone()
    for _ in range(30):
        output = victim(moving.transpose(1, 2))
        distance = losses.l2_distance(moving, points)
        better = (output.argmax(1) != labels) & (distance < nearest)
        nearest, best = (
            torch.where(better, distance, nearest).detach(),
            torch.where(better[:, None, None], moving, best),
        )
        best = best.detach()
        optimiser.zero_grad()
        (losses.margin_loss(output, labels) + 0.5 * distance).sum().backward()
        optimiser.step()
    assert nearest.isfinite().all()
    torch.testing.assert_close(result.adv, best, rtol=0, atol=1e-5)
    assert result.steps.tolist() == [30] * 6
    assert result.queries.tolist() == [31] * 6


@pytest.mark.parametrize(("attack", "options"), [(CW, {"search_steps": 3}), (KNN, {}), (GeoA3, {"search_steps": 3})])
def test_what_comes_back_is_what_the_victim_sees(attack, options, victim, clouds, labels):
    counting = Counting(victim)
    result = attack(counting, **options, **SHORT).run(clouds[0], labels, clouds[1])
    assert result.success.sum() >= 4
    assert torch.equal(predicted(victim, result.adv), result.prediction)
    assert torch.equal(result.prediction != labels, result.success)
    assert result.queries.sum() == counting.clouds


def test_the_search_for_the_weight_comes_nearer_than_one_descent_and_than_steps(victim, clouds, labels):
    found = {}
    for steps in (1, 4, 8):
        result = CW(victim, weight=0.1, search_steps=steps, **SHORT).run(clouds[0], labels)
        assert result.success.all()
        found[steps] = metrics.l2(result.adv, clouds[0])
    assert (found[4] <= found[1]).all()
    assert (found[8] <= found[4]).all()
    assert found[8].mean() < 0.95 * found[1].mean()
    assert found[8].mean() < 0.5 * metrics.l2(IFGM(victim)(clouds[0], labels), clouds[0]).mean()


def test_a_weight_that_is_too_high_falls(victim, clouds, labels):
    heavy = {"weight": 1e4, "max_weight": 2e4, **SHORT}
    failed = CW(victim, search_steps=1, **heavy).run(clouds[0], labels)
    assert not failed.success.any()
    assert torch.equal(predicted(victim, failed.adv), failed.prediction)
    assert CW(victim, search_steps=15, **heavy).run(clouds[0], labels).success.all()


@pytest.mark.parametrize("name", ["cw", "knn", "geoa3"])
def test_a_cloud_is_attacked_alike_alone_and_in_any_batch(name, victim, clouds, labels):
    points, normals = clouds
    search = {} if name == "knn" else {"search_steps": 3}
    attack = build_attack(name, victim, micro_batch=6, iterations=20, **search)
    together = attack.run(points, labels, normals)
    alone = attack.run(points[4:5], labels[4:5], normals[4:5], ids=torch.tensor([4]))
    assert together.success[4] == alone.success[0]
    torch.testing.assert_close(
        metrics.l2(alone.adv, points[4:5]), metrics.l2(together.adv, points)[4:5], rtol=0.01, atol=0
    )


def test_clouds_that_no_longer_fall_leave_early(victim, clouds, labels):
    full = CW(victim, early_stop=False, search_steps=3, iterations=60, micro_batch=8).run(clouds[0], labels)
    early = CW(victim, search_steps=3, iterations=60, micro_batch=8).run(clouds[0], labels)
    assert early.queries.sum() < full.queries.sum()
    assert early.success.all()
    assert metrics.l2(early.adv, clouds[0]).mean() < 1.2 * metrics.l2(full.adv, clouds[0]).mean()


@pytest.mark.parametrize("name", ["cw", "knn", "geoa3", "drop"])
def test_clouds_that_are_wrong_already_come_back_untouched(name, victim, clouds, labels):
    result = build_attack(name, victim).run(clouds[0], (labels + 1) % NUM_CLASSES, clouds[1])
    assert torch.equal(result.adv, clouds[0])
    assert result.queries.tolist() == [1] * 6
    assert not result.attacked.any()


def test_knn_stays_in_its_box_and_outside_the_surface(victim, clouds, labels):
    points, normals = clouds
    result = KNN(victim, eps=0.03, **SHORT).run(points, labels, normals)
    motion = result.adv - points
    assert metrics.linf(result.adv, points).max() < 0.03 + 1e-6
    # Up to the box, which may push a projected point back in; the start noise of 1e-7 is never seen by an iterate.
    assert (motion * normals).sum(-1).min() > -0.03
    free = KNN(victim, eps=None, **SHORT).run(points, labels, normals)
    assert ((free.adv - points) * normals).sum(-1).min() > -1e-6
    unprojected = KNN(victim, eps=None, **SHORT).run(points, labels)
    assert ((unprojected.adv - points) * normals).sum(-1).min() < -1e-3


def test_knn_minimises_chamfer_plus_the_distance_of_neighbours(victim, clouds):
    """Tsai et al.: N (5 Chamfer + 3 kNN distance); a stray point raises both terms."""
    clean = clouds[0]
    stray = clean.clone()
    stray[:, 0] *= 3
    distance = KNN(victim)._distance(stray, stray, clean)
    chamfer, neighbours = losses.nearest_squared_distances(stray, clean).mean(1), losses.knn_distance(stray)
    torch.testing.assert_close(distance, 256 * (5 * chamfer + 3 * neighbours))
    assert (KNN(victim, knn_weight=6.0)._distance(stray, stray, clean) > distance).all()


@pytest.mark.parametrize(("max_weight", "tried"), [(None, [10, 20, 40, 80]), (80.0, [10, 45, 62.5, 71.25])])
@pytest.mark.parametrize("attack", [GeoA3, CW])
def test_the_weight_rises_after_every_success(attack, max_weight, tried, victim, clouds, labels):
    """Without an upper bound it doubles, below one it goes half the way."""
    weights = recorded_weights(attack, victim, clouds, labels, max_weight, [True] * 4)
    assert weights == tried


@pytest.mark.parametrize(("max_weight", "tried"), [(None, [10, 20, 15, 12.5]), (80.0, [10, 45, 27.5, 18.75])])
def test_the_weight_falls_half_the_way_after_a_failure(max_weight, tried, victim, clouds, labels):
    assert recorded_weights(GeoA3, victim, clouds, labels, max_weight, [True, False, False, False]) == tried


def recorded_weights(attack, victim, clouds, labels, max_weight, outcomes):
    """The weights of the descents on one cloud, whose outcomes are given."""
    weights, outcomes = [], iter(outcomes)

    class Recording(attack):
        def _descend(self, points, rows, weight, *rest):
            weights.append(float(weight[0]))
            return torch.full((1,), next(outcomes))

    Recording(victim, search_steps=4, weight=10.0, max_weight=max_weight).run(clouds[0][:1], labels[:1], clouds[1][:1])
    return weights


def test_geoa3_keeps_the_curvature_as_far_as_asked(victim, clouds, labels):
    points, normals = clouds
    bent = {}
    for curvature_weight in (0.0, 10.0):
        attack = GeoA3(victim, curvature_weight=curvature_weight, search_steps=2, start_noise=1e-5, **SHORT)
        result = attack.run(points, labels, normals)
        assert result.success.all()
        bent[curvature_weight] = metrics.curvature(result.adv, points, normals)
    assert bent[10.0].mean() < 0.8 * bent[0.0].mean()


# Dropping ------------------------------------------------------------------------------------------------------------


def test_dropped_points_lie_on_their_nearest_survivors(victim, clouds, labels):
    points = clouds[0]
    result = Drop(victim, num_drop=33, early_stop=False).run(points, labels)
    assert result.steps.tolist() == [7] * 6  # five at a time, three in the end
    for adv, clean in zip(result.adv, points, strict=True):
        moved = (adv != clean).any(-1)
        assert moved.sum() == 33
        survivors = clean[~moved]
        nearest = torch.cdist(clean[moved], survivors).argmin(1)
        assert torch.equal(adv[moved], survivors[nearest])


def test_to_a_network_that_ends_in_a_maximum_laying_aside_is_dropping(victim, clouds, labels):
    result = Drop(victim, num_drop=40, early_stop=False).run(clouds[0], labels)
    for adv, clean, prediction in zip(result.adv, clouds[0], result.prediction, strict=True):
        survivors = clean[(adv == clean).all(-1)]
        assert predicted(victim, survivors[None]) == prediction


def test_the_points_dropped_first_are_those_of_highest_saliency(victim, clouds, labels):
    points = clouds[0].clone().requires_grad_()
    loss = torch.nn.functional.cross_entropy(victim(points.transpose(1, 2)), labels, reduction="sum")
    (gradient,) = torch.autograd.grad(loss, points)
    centred = clouds[0] - clouds[0].median(1, keepdim=True).values
    saliency = -(centred.norm(dim=-1) ** 0.5) * (centred * gradient).sum(-1)
    adv = Drop(victim, num_drop=5, alpha=0.5, early_stop=False)(clouds[0], labels)
    moved = (adv != clouds[0]).any(-1)
    assert torch.equal(moved, saliency >= saliency.topk(5).values[:, -1:])


def test_dropping_stops_at_success_and_is_counted(victim, clouds, labels):
    counting = Counting(victim)
    early = Drop(counting, num_drop=200).run(clouds[0], labels)
    full = Drop(victim, num_drop=200, early_stop=False).run(clouds[0], labels)
    assert early.queries.sum() == counting.clouds
    assert early.success.sum() >= full.success.sum()
    assert (early.steps < full.steps).any()
    assert torch.equal(predicted(victim, early.adv), early.prediction)


def test_something_must_be_left_of_a_cloud(victim, clouds, labels):
    with pytest.raises(ValueError, match="num_drop=256 leaves nothing of clouds of 256 points"):
        Drop(victim, num_drop=256)(clouds[0], labels)
