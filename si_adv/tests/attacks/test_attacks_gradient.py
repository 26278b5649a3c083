import math

import pytest
import torch
from attack_toys import NUM_CLASSES, Counting, ToyVictim, predicted

from shared_utils import UserError
from si_adv import metrics
from si_adv.attacks import (
    ATTACKS,
    IFGM,
    MIFGM,
    PGD,
    RandomDirection,
    RandomTangent,
    ShapeInvariantIFGM,
    attack_options,
    build_attack,
)
from si_adv.attacks.gradient import GradientAttack
from si_adv.defences import SOR, SRS, Defended
from si_adv.losses import output_margin

SLOW = {"step_size": 1e-3, "steps": 40, "micro_batch": 8}  # several steps to success on the toy victim
ALONE = SLOW | {"micro_batch": 1}
GRADIENT_ATTACKS = [name for name, attack in ATTACKS.items() if issubclass(attack, GradientAttack)]


# The shape-invariant step --------------------------------------------------------------------------------------------


def test_the_step_by_projection_is_the_step_by_transform(victim, clouds, labels):
    points, normals = clouds
    for steps in (1, 5):
        options = {"step_size": 1e-3, "steps": steps, "early_stop": False, "normal_every": 5}
        projected = ShapeInvariantIFGM(victim, **options)(points, labels, normals)
        transformed = ShapeInvariantIFGM(victim, coordinates="transform", **options)(points, labels, normals)
        assert (projected != points).any()
        assert (projected - transformed).abs().max() < 1e-5


@pytest.mark.parametrize("attack", [ShapeInvariantIFGM, RandomTangent])
def test_a_step_stays_on_the_tangent_planes(attack, victim, clouds, labels):
    points, normals = clouds
    adv = attack(victim, step_size=1e-3, steps=1, eps=None)(points, labels, normals)
    assert (adv != points).any()
    # Float32 coordinates of size one.
    assert ((adv - points) * normals).sum(-1).abs().max() < 1e-6


def test_a_free_step_leaves_the_tangent_planes(victim, clouds, labels):
    points, normals = clouds
    adv = IFGM(victim, step_size=1e-3, steps=1, eps=None)(points, labels)
    assert ((adv - points) * normals).sum(-1).abs().max() > 1e-3


@pytest.mark.parametrize("coordinates", ["projection", "transform"])
def test_turning_normals_over_changes_nothing(coordinates, victim, clouds, labels):
    points, normals = clouds
    turned = normals * torch.where(torch.rand(normals.shape[:2]) < 0.5, -1.0, 1.0)[..., None]
    attack = ShapeInvariantIFGM(victim, coordinates=coordinates, **SLOW)
    torch.testing.assert_close(attack(points, labels, turned), attack(points, labels, normals), rtol=0, atol=1e-6)


@pytest.mark.parametrize(("reference_points", "expected"), [(1024, 1024), (None, 256), (64, 64)])
def test_the_length_of_a_step_is_measured_over_the_whole_cloud(victim, clouds, labels, reference_points, expected):
    points, normals = clouds
    for attack in (ShapeInvariantIFGM, IFGM, RandomDirection, RandomTangent):
        moved = attack(victim, step_size=1e-3, steps=1, reference_points=reference_points)(points, labels, normals)
        length = torch.full((len(points),), 1e-3 * math.sqrt(3 * expected))
        torch.testing.assert_close(metrics.l2(moved, points), length, rtol=1e-4, atol=0)


def test_points_without_a_normal_are_kept_still_and_counted(victim, clouds, labels):
    points, normals = (tensor.clone() for tensor in clouds)
    moving = (ShapeInvariantIFGM(victim, steps=1)(points, labels, normals) != points).any(-1)
    chosen = moving[0].nonzero()[:3, 0]
    normals[0, chosen[0]], normals[0, chosen[1]], normals[0, chosen[2]] = 0, torch.nan, torch.inf
    for coordinates in ("projection", "transform"):
        result = ShapeInvariantIFGM(victim, steps=1, coordinates=coordinates).run(points, labels, normals)
        assert torch.equal(result.adv[0, chosen], points[0, chosen])
        assert result.undefined_normals.tolist() == [3] + [0] * 7
        assert result.adv.isfinite().all()


def test_a_cloud_of_two_distinct_points_has_no_surface_to_move_on(victim, labels):
    points = torch.zeros(1, 40, 3)
    points[:, 20:, 0] = 0.5
    label = predicted(victim, points)
    result = ShapeInvariantIFGM(victim, steps=3).run(points, label)
    assert torch.equal(result.adv, points)
    assert result.undefined_normals.tolist() == [40]


# The loop ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", GRADIENT_ATTACKS)
def test_a_cloud_is_attacked_alike_alone_and_in_any_batch(name, victim, clouds, labels):
    points, normals = clouds
    one_step = {} if name == "fgm" else {"steps": 1}
    for options, tolerance in ((one_step, 1e-5), ({} if name == "fgm" else SLOW, None)):
        attack = build_attack(name, victim, **{"micro_batch": 8} | options)
        together = attack.run(points, labels, normals)
        order = torch.tensor([5, 2, 7, 0, 1, 3, 6, 4])
        shuffled = attack.run(points[order], labels[order], normals[order], ids=order)
        alone = attack.run(points[2:3], labels[2:3], normals[2:3], ids=torch.tensor([2]))
        if tolerance:
            assert (together.adv[order] - shuffled.adv).abs().max() < tolerance
            assert (together.adv[2] - alone.adv[0]).abs().max() < tolerance
        assert torch.equal(together.success[order], shuffled.success)
        # Rounding grows over the steps.
        before, after = metrics.l2(together.adv, points), metrics.l2(shuffled.adv, points[order])
        torch.testing.assert_close(before[order], after, rtol=0.01, atol=1e-6)
        torch.testing.assert_close(before[2:3], metrics.l2(alone.adv, points[2:3]), rtol=0.01, atol=1e-6)


@pytest.mark.parametrize("attack", [ShapeInvariantIFGM, IFGM, PGD])
def test_a_cloud_stops_moving_at_success(attack, victim, clouds, labels):
    points, normals, labels = clouds[0][:4], clouds[1][:4], labels[:4]
    # One by one: in a batch whose other clouds left, the same cloud rounds differently.
    stopped = attack(victim, **ALONE).run(points, labels, normals)
    counting = Counting(victim)
    full = attack(counting, early_stop=False, **ALONE).run(points, labels, normals)
    assert stopped.success.all()
    assert stopped.steps.max() < SLOW["steps"]
    # Only the clipping to the box, which is repeated, may round once more.
    assert (full.adv - stopped.adv).abs().max() < 1e-6
    assert (full.steps == SLOW["steps"]).all()
    assert stopped.queries.sum() < counting.clouds / 2


def test_momentum_carries_a_cloud_on_after_success(victim, clouds, labels):
    stopped = MIFGM(victim, **SLOW).run(clouds[0], labels)
    full = MIFGM(victim, early_stop=False, **SLOW).run(clouds[0], labels)
    assert stopped.success.all()
    assert (metrics.l2(full.adv, clouds[0]) > 1.5 * metrics.l2(stopped.adv, clouds[0])).all()


@pytest.mark.parametrize("name", ["si_ifgm", "ifgm", "mifgm", "normal_ifgm", "random", "random_tangent"])
def test_steps_add_up_within_the_box(name, victim, clouds, labels):
    attack = build_attack(name, victim, eps=0.02, step_size=5e-3, steps=6, early_stop=False)
    linf = metrics.linf(attack(clouds[0], labels, clouds[1]), clouds[0])
    # The start noise of 1e-7 is where the box of the FGM family is centred.
    assert (linf < 0.02 + 1e-6).all()
    assert (linf > 0.019).any()


def test_pgd_starts_where_it_is_told_to(victim, clouds, labels):
    points = clouds[0]
    published = PGD(victim, steps=0, early_stop=False)(points, labels)
    assert 0.9 < metrics.linf(published, points).max() * math.sqrt(3 * 256) / 0.16 < 1 + 1e-4
    box = PGD(victim, steps=0, early_stop=False, start="box")(points, labels)
    assert metrics.linf(box, points).min() > 0.15
    assert metrics.linf(PGD(victim, steps=3, early_stop=False, start="box")(points, labels), points).max() < 0.16 + 1e-6


def test_clouds_that_are_wrong_already_come_back_untouched(victim, clouds, labels):
    wrong = (labels + 1) % NUM_CLASSES
    for name in GRADIENT_ATTACKS:
        result = build_attack(name, victim).run(clouds[0], wrong, clouds[1])
        assert torch.equal(result.adv, clouds[0])
        assert result.success.all()
        assert not result.attacked.any()
        assert (result.steps == 0).all()
        assert torch.equal(result.prediction, labels)


def test_a_target_is_reached(victim, clouds, labels):
    target = (labels + 3) % NUM_CLASSES
    options = {"targeted": True, "step_size": 2e-3, "eps": None, "micro_batch": 8}
    result = ShapeInvariantIFGM(victim, **options).run(clouds[0], target, clouds[1])
    assert result.success.sum() >= 6
    assert torch.equal(result.success, result.prediction == target)
    assert torch.equal(predicted(victim, result.adv), result.prediction)


def test_confidence_is_how_far_the_margin_is_won(victim, clouds, labels):
    result = ShapeInvariantIFGM(victim, confidence=0.1, **SLOW).run(clouds[0], labels, clouds[1])
    margin = -output_margin(victim(result.adv.transpose(1, 2)), labels)
    assert result.success.sum() >= 6
    assert torch.equal(result.success, margin >= 0.1)
    bare = ShapeInvariantIFGM(victim, **SLOW).run(clouds[0], labels, clouds[1])
    assert (bare.steps <= result.steps).all()
    assert (bare.steps < result.steps).any()


def test_top_k_drives_the_label_out_of_the_best_k(victim, clouds, labels):
    result = ShapeInvariantIFGM(victim, top_k=3, eps=None, step_size=3e-3, micro_batch=8).run(
        clouds[0], labels, clouds[1]
    )
    among = (victim(result.adv.transpose(1, 2)).topk(3).indices == labels[:, None]).any(1)
    assert result.success.sum() >= 6
    assert torch.equal(result.success, ~among)


@pytest.mark.parametrize("attack", [ShapeInvariantIFGM, IFGM, PGD])
def test_refinement_finds_nearer_successes_and_loses_none(attack, victim, clouds, labels):
    points, normals = clouds
    plain = attack(victim).run(points, labels, normals)
    counting = Counting(victim)
    refined = attack(counting, refine=True).run(points, labels, normals)
    assert torch.equal(plain.success, refined.success)
    assert torch.equal(predicted(victim, refined.adv), refined.prediction)
    assert (refined.prediction != labels)[refined.success].all()
    before, after = metrics.l2(plain.adv, points), metrics.l2(refined.adv, points)
    assert (after <= before).all()
    assert after.mean() < 0.8 * before.mean()
    assert refined.queries.sum() == counting.clouds
    with pytest.raises(ValueError, match="early_stop"):
        attack(victim, refine=True, early_stop=False)


@pytest.mark.parametrize("name", GRADIENT_ATTACKS)
def test_every_cloud_through_the_victim_is_counted(name, victim, clouds, labels):
    counting = Counting(victim)
    result = build_attack(name, counting, micro_batch=3).run(clouds[0], labels, clouds[1])
    assert result.queries.sum() == counting.clouds


@pytest.mark.parametrize("name", ["ifgm", "mifgm", "pgd", "random", "random_tangent"])
def test_random_draws_follow_the_seed_and_the_id_of_a_cloud(name, victim, clouds, labels):
    points, normals = clouds
    attack = build_attack(name, victim, steps=2, early_stop=False)
    whole = attack(points, labels, normals)
    assert torch.equal(whole, attack(points, labels, normals))
    ids = torch.arange(8)
    halves = [attack.run(points[h], labels[h], normals[h], ids=ids[h]).adv for h in (slice(0, 5), slice(5, 8))]
    torch.testing.assert_close(torch.cat(halves), whole, rtol=0, atol=1e-5)
    other = build_attack(name, victim, steps=2, early_stop=False, seed=1)(points, labels, normals)
    assert not torch.equal(other, whole)


# The victim ----------------------------------------------------------------------------------------------------------


class Tuple(ToyVictim):
    def forward(self, clouds):
        return super().forward(clouds), clouds.mean()


def test_tuples_log_probabilities_and_plain_functions_can_be_attacked(victim, clouds, labels):
    points, normals = clouds
    expected = ShapeInvariantIFGM(victim, **SLOW)(points, labels, normals)
    tupled = Tuple(3)
    tupled.load_state_dict(victim.state_dict())
    victims = {
        "tuple": tupled,
        "function": lambda x: victim(x),
        "method": victim.forward,
        "log-probabilities": lambda x: victim(x).log_softmax(1),
    }
    for kind, model in victims.items():
        adv = ShapeInvariantIFGM(model, **SLOW)(points, labels, normals)
        # Log-probabilities round differently.
        tolerance = 1e-3 if kind == "log-probabilities" else 0
        torch.testing.assert_close(adv, expected, rtol=0, atol=tolerance, msg=kind)


@pytest.mark.parametrize("name", ATTACKS)
def test_modes_and_flags_are_restored(name, clouds, labels):
    model = ToyVictim(3)  # in training mode: dropout and batch statistics would spoil the attack
    model.head[1].eval()
    model.points[0].weight.requires_grad_(False)
    modes = [module.training for module in model.modules()]
    flags = [parameter.requires_grad for parameter in model.parameters()]
    short = {"iterations": 2, "search_steps": 2}
    steps = {attack: {"steps": 5} for attack in GRADIENT_ATTACKS if attack != "fgm"}
    few = {attack: {"max_queries": 30} for attack in ATTACKS if "max_queries" in attack_options(attack)}
    descents = {attack: short for attack in ("cw", "geoa3", "aof", "advpc", "hit_adv")} | {"knn": {"iterations": 2}}
    budget = {**descents, **steps, **few}.get(name, {})
    label = predicted(ToyVictim(3).eval(), clouds[0][:2])
    adv = build_attack(name, model, **budget)(clouds[0][:2], label, clouds[1][:2])
    assert [module.training for module in model.modules()] == modes
    assert [parameter.requires_grad for parameter in model.parameters()] == flags
    assert all(parameter.grad is None for parameter in model.parameters())
    reference = build_attack(name, ToyVictim(3).eval(), **budget)(clouds[0][:2], label, clouds[1][:2])
    assert torch.equal(adv, reference)


def test_modes_and_flags_are_restored_after_an_error(clouds, labels):
    class Failing(ToyVictim):
        def forward(self, clouds):
            raise RuntimeError("out of memory")

    model = Failing()
    with pytest.raises(RuntimeError, match="out of memory"):
        IFGM(model)(clouds[0], labels)
    assert model.training
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("defence", [SOR(), SRS(100)])
def test_an_attack_goes_through_a_defence(defence, victim, clouds, labels):
    points, normals = clouds
    defended = Defended(victim, defence)
    label = predicted(defended, points)
    result = ShapeInvariantIFGM(defended, eps=None).run(points, label, normals)
    assert result.adv.shape == points.shape
    assert result.success.float().mean() >= 0.75
    assert (result.steps[result.success & result.attacked] > 0).all()


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_attacks_take_gradients_inside_validation_loops(context, victim, clouds, labels):
    expected = ShapeInvariantIFGM(victim)(clouds[0], labels, clouds[1])
    with context():
        points, normals = clouds[0].clone(), clouds[1].clone()
        assert torch.equal(ShapeInvariantIFGM(victim)(points, labels.clone(), normals), expected)


# The interface -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ATTACKS)
def test_as_many_points_come_back_in_their_order(name, victim, clouds, labels):
    budget = {"cw": {"iterations": 3}, "knn": {"iterations": 3}, "geoa3": {"iterations": 3}, "drop": {"num_drop": 20}}
    budget["hit_adv"] = {"iterations": 3}
    points, normals = (tensor[:3].clone() for tensor in clouds)
    six = torch.cat((points, normals), 2).double()
    kept = six.clone()
    result = build_attack(name, victim, **budget.get(name, {})).run(six, labels[:3])
    assert torch.equal(six, kept)
    assert result.adv.shape == points.shape
    assert result.adv.dtype == torch.float32
    assert result.adv.device == points.device
    # In order: a row is nearer to its own clean point than to most others, but for what all rows move by (hit_adv moves far).
    shift = (result.adv - points).mean(1, keepdim=True)
    rank = (torch.cdist(result.adv - shift, points).argsort(-1) == torch.arange(256)[:, None]).float().argmax(-1)
    assert (rank.float().mean(1) < 30).all()
    assert torch.equal(predicted(victim, result.adv), result.prediction)


def test_normals_may_come_with_the_clouds_or_apart(victim, clouds, labels):
    apart = ShapeInvariantIFGM(victim)(clouds[0], labels, clouds[1])
    assert torch.equal(ShapeInvariantIFGM(victim)(torch.cat(clouds, 2), labels), apart)
    estimated = ShapeInvariantIFGM(victim, steps=1)(clouds[0], labels)
    assert not torch.equal(estimated, ShapeInvariantIFGM(victim, steps=1)(clouds[0], labels, clouds[1]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"clouds": torch.zeros(2, 3, 64)}, "clouds must have shape"),
        ({"clouds": torch.zeros(0, 64, 3)}, "clouds must have shape"),
        ({"labels": torch.zeros(3)}, "labels of shape"),
        ({"labels": torch.tensor([0, NUM_CLASSES])}, f"labels must lie in 0..{NUM_CLASSES - 1}"),
        ({"normals": torch.zeros(2, 63, 3)}, "normals must have the shape"),
        ({"ids": torch.arange(3)}, "ids of shape"),
    ],
)
def test_wrong_shapes_are_named(arguments, message, victim):
    valid = {"clouds": torch.zeros(2, 64, 3), "labels": torch.zeros(2)}
    with pytest.raises(ValueError, match=message):
        IFGM(victim).run(**{**valid, **arguments})


def test_a_victim_must_return_outputs_by_class(clouds, labels):
    with pytest.raises(ValueError, match=r"must return \(B, C\) outputs"):
        IFGM(lambda x: x)(clouds[0], labels)


def test_unknown_attacks_and_options_are_answered_with_the_closest_known(victim):
    with pytest.raises(UserError, match="unknown attack 'si_ifgsm': choose from si_ifgm, "):
        build_attack("si_ifgsm", victim)
    with pytest.raises(UserError, match="attack ifgm has no option 'step': choose from steps, "):
        build_attack("ifgm", victim, step=3)
    with pytest.raises(UserError, match="attack fgm has no option 'eps'"):
        build_attack("fgm", victim, eps=0.1)


def test_a_goal_holds_where_the_decision_is_right_whatever_the_margin(victim, clouds, labels):
    points, _ = clouds
    result = IFGM(victim, **SLOW).run(points, labels)
    strict = IFGM(victim, confidence=100.0, **SLOW)
    assert result.success.all() and strict.holds(result.adv, labels).all()
    assert not strict.holds(points, labels).any()
    aim = IFGM(victim, targeted=True, **SLOW)
    assert torch.equal(aim.holds(result.adv, result.prediction), result.success)
    assert not aim.holds(result.adv, labels).any()
