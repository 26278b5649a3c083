import numpy as np
import pytest
import torch
from attack_toys import NUM_CLASSES, Counting, predicted, toy_victim

from si_adv import metrics
from si_adv.attacks import ShapeInvariantQuery, SimBA, SimBAPP, build_attack, sensitivity_map
from si_adv.attacks.sensitivity import score_gradient
from si_adv.losses import output_margin

QUERIES = ["si_query", "simba", "simba_pp"]


@pytest.mark.parametrize("name", QUERIES)
@pytest.mark.parametrize(
    "options", [{}, {"lookahead": 5}, {"max_queries": 4}, {"lookahead": 3, "max_queries": 7}], ids=str
)
def test_every_cloud_through_the_target_is_counted(name, options, victim, clouds, labels):
    target = Counting(victim)
    surrogate = {} if name == "simba" else {"surrogate": victim}
    result = build_attack(name, target, micro_batch=3, **surrogate, **options).run(clouds[0], labels, clouds[1])
    assert result.queries.sum() == target.clouds
    assert result.queries.max() <= options.get("max_queries", 10**9)
    assert torch.equal(predicted(victim, result.adv), result.prediction)
    assert torch.equal(result.success, result.prediction != labels)


@pytest.mark.parametrize("name", QUERIES)
def test_looking_ahead_accepts_the_same_moves_and_hides_no_query(name, victim, clouds, labels):
    one, ahead = (build_attack(name, victim, lookahead=m).run(clouds[0], labels, clouds[1]) for m in (1, 6))
    torch.testing.assert_close(ahead.adv, one.adv, rtol=0, atol=1e-6)
    assert torch.equal(ahead.steps, one.steps)
    assert (ahead.queries >= one.queries).all()
    assert (ahead.queries > one.queries).any()


@pytest.mark.parametrize("name", QUERIES)
def test_a_cloud_is_attacked_alike_alone_and_in_any_batch(name, victim, clouds, labels):
    points, normals = clouds
    attack = build_attack(name, victim, micro_batch=8)
    together = attack.run(points, labels, normals)
    alone = [
        attack.run(points[i : i + 1], labels[i : i + 1], normals[i : i + 1], ids=torch.tensor([i])) for i in range(8)
    ]
    assert together.queries.tolist() == [int(result.queries) for result in alone]
    torch.testing.assert_close(torch.cat([result.adv for result in alone]), together.adv, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", QUERIES)
def test_the_score_rises_with_every_move(name, victim, clouds, labels):
    result = build_attack(name, victim).run(clouds[0], labels, clouds[1])
    final = -output_margin(victim(result.adv.transpose(1, 2)), labels)
    for path, steps, queries, score in zip(result.trajectory, result.steps, result.queries, final, strict=True):
        assert len(path) == 1 + steps  # the clean cloud, then every accepted move
        assert path[0, 0] == 1
        assert (path.diff(dim=0) > 0).all()
        assert path[-1, 0] <= queries
        assert abs(path[-1, 1] - score) < 1e-5


def test_only_accepted_points_move_and_they_move_one_step(victim, clouds, labels):
    points, normals = clouds
    result = ShapeInvariantQuery(victim, step=0.2).run(points, labels, normals)
    assert torch.equal(metrics.moved(result.adv, points), result.steps)
    motion = result.adv - points
    lengths = motion.norm(dim=-1)
    torch.testing.assert_close(lengths[lengths > 0], torch.full_like(lengths[lengths > 0], 0.2))
    # Along the surface.
    assert (motion * normals).sum(-1).abs().max() < 1e-6
    assert metrics.linf(ShapeInvariantQuery(victim, step=0.2, eps=0.05)(points, labels, normals), points).max() < 0.0501


def test_points_are_tried_from_the_most_sensitive_on(victim, clouds, labels):
    """With a score that never rises every trial is of one point of the clean cloud."""
    tried = []

    def target(points):
        tried.append(points.transpose(1, 2))
        return torch.eye(NUM_CLASSES)[labels[:1]]

    points, normals = clouds[0][:1], clouds[1][:1]
    ShapeInvariantQuery(target, victim).run(points, labels[:1], normals)
    sensitivity, _ = sensitivity_map(victim, points, labels[:1], normals)
    order = sensitivity[0].argsort(descending=True, stable=True)[: int((sensitivity > 0).sum())]
    moved = [(trial[0] != points[0]).any(-1).nonzero() for trial in tried[1:]]
    assert torch.cat(moved)[:, 0].tolist() == order.repeat_interleave(2).tolist()


def test_the_sign_that_is_tried_first_can_be_chosen(victim, clouds, labels):
    first = {}
    for order in ("+-", "-+"):
        tried = []

        def target(points, tried=tried):
            tried.append(points.transpose(1, 2))
            return victim(points)

        attack = SimBA(target, step=0.2, sign_order=order, max_queries=2, micro_batch=8)
        attack.run(clouds[0], labels)
        first[order] = tried[1] - tried[0]
    torch.testing.assert_close(first["+-"], -first["-+"], rtol=0, atol=1e-6)
    assert first["+-"].flatten(1).sum(1).tolist() == pytest.approx([0.2] * 8, abs=1e-6)


def test_the_published_start_accepts_the_first_trial_whatever_it_does(victim, clouds, labels):
    ours = SimBA(victim, step=1e-3, max_queries=2).run(clouds[0], labels)
    published = SimBA(victim, step=1e-3, max_queries=2, published_start=True).run(clouds[0], labels)
    assert published.steps.tolist() == [1] * 8
    # Most coordinates do not matter to a network with a maximum.
    assert ours.steps.sum() < 6


def test_the_target_may_be_any_function(victim, clouds, labels):
    def service(points):
        with torch.no_grad():
            return torch.from_numpy(np.asarray(victim(points)).copy())

    for attack in (SimBA(service), ShapeInvariantQuery(service, toy_victim(3)), SimBAPP(service, toy_victim(3))):
        assert attack.run(clouds[0], labels, clouds[1]).success.all()


def test_a_map_of_the_target_saves_queries(victim, clouds, labels):
    ours = ShapeInvariantQuery(victim).run(clouds[0], labels, clouds[1])
    simba = SimBA(victim).run(clouds[0], labels)
    assert ours.success.all()
    assert ours.queries.float().mean() <= 0.6 * simba.queries.float().mean()


@pytest.mark.parametrize("name", QUERIES)
def test_a_target_class_is_reached(name, victim, clouds, labels):
    target = (labels + 3) % NUM_CLASSES
    # Several moves at a time, which accepts the same ones.
    result = build_attack(name, victim, targeted=True, lookahead=4).run(clouds[0], target, clouds[1])
    assert result.success.sum() >= 2
    assert torch.equal(result.success, result.prediction == target)


@pytest.mark.parametrize("name", QUERIES)
def test_clouds_that_are_wrong_already_cost_one_query(name, victim, clouds, labels):
    result = build_attack(name, victim).run(clouds[0], (labels + 1) % NUM_CLASSES, clouds[1])
    assert result.queries.tolist() == [1] * 8
    assert torch.equal(result.adv, clouds[0])
    assert [len(path) for path in result.trajectory] == [1] * 8


def _drawn(attack, points, labels):
    """How often every coordinate (B, N, 3) is in the list of moves."""
    moves = attack._moves(points, labels, None, torch.arange(len(points)))
    axis = moves.displacement[:, :, 0].abs().argmax(-1)
    flat = 3 * moves.point + axis
    counts = torch.stack([row.bincount(minlength=3 * points.shape[1]) for row in flat])
    return counts.view(len(points), -1, 3)


def test_simba_pp_draws_the_coordinates_that_the_gradient_names(victim, clouds, labels):
    points = clouds[0]
    weight = score_gradient(victim, points, labels).abs()
    share = weight / weight.sum((1, 2), keepdim=True)
    draws = 3 * points.shape[1]
    counts = sum(_drawn(SimBAPP(victim, seed=seed), points, labels) for seed in range(40))
    assert (counts[share == 0] == 0).all()
    # Of 40 * 768 draws, six standard deviations of a binomial.
    expected, deviation = 40 * draws * share, (40 * draws * share * (1 - share)).sqrt()
    assert ((counts - expected).abs() <= 6 * deviation).all()

    published = _drawn(SimBAPP(victim, published_decoding=True), points, labels)
    assert (published.float() * (share == 0)).sum() > 0.5 * published.sum()


def test_simba_tries_every_coordinate_once(victim, clouds, labels):
    counts = _drawn(SimBA(victim), clouds[0], labels)
    assert (counts == 1).all()


def test_a_surrogate_without_gradient_leaves_every_coordinate_equally_likely(clouds, labels):
    flat = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(768, NUM_CLASSES))
    flat[1].weight.data.zero_()
    counts = sum(_drawn(SimBAPP(flat, seed=seed), clouds[0], labels) for seed in range(20))
    assert counts.float().mean() == 20
    assert counts.max() < 60


@pytest.mark.parametrize(
    ("options", "message"),
    [({"sign_order": "++"}, "sign_order"), ({"lookahead": 0}, "lookahead"), ({"max_queries": 0}, "max_queries")],
)
def test_impossible_options_are_named(options, message, victim):
    with pytest.raises(ValueError, match=message):
        SimBA(victim, **options)
