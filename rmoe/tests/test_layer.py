"""The invariants of the layer as properties, in float64, over random widths, experts, choices and capacities."""

import copy
import itertools

import pytest
import torch
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from rmoe.moe import FeedForward, ResidualMoE, auxiliary_losses, factor, merge, permute_experts
from rmoe.moe.convert import from_feed_forward
from rmoe.moe.layer import update_balance
from rmoe.moe.losses import gshard, importance

SETTINGS = [
    # experts, k, dim, hidden, tokens, capacity factor
    (8, 1, 6, 10, 40, 1.25),
    (8, 2, 6, 10, 33, 0.1),
    (4, 4, 5, 7, 20, 1.0),
    (1, 1, 3, 4, 9, 0.5),
    (5, 3, 4, 16, 1, 1.25),
    (3, 2, 4, 8, 0, 1.0),
    (7, 2, 9, 3, 50, 0.0),
    (2, 1, 2, 2, 200, 10.0),
]
IDS = [f"E{e}k{k}C{c}H{h}T{t}cf{f}" for e, k, c, h, t, f in SETTINGS]


def made(setting, residuals=0.5, **switches):
    """A layer in float64 with random weights, and tokens for it."""
    experts, k, dim, hidden, tokens, factor_ = setting
    layer = ResidualMoE(
        dim, hidden, experts, k, capacity_factor=factor_, eval_capacity_factor=factor_, **switches
    ).double()
    with torch.no_grad():
        layer.router.weight.normal_()
        for name, parameter in layer.named_parameters():
            if name.startswith(("residual.", "experts.")):
                parameter.normal_(std=residuals) if residuals else parameter.zero_()
    return layer, torch.randn(tokens, dim, dtype=torch.float64)


def dense(layer, x):
    return layer.core(x)


# I1 --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("priority", [True, False], ids=["priority", "order"])
@pytest.mark.parametrize("gate", ["straight_through", "normalized", "residual"])
@pytest.mark.parametrize("setting", SETTINGS, ids=IDS)
def test_zero_residuals_keep_the_function(setting, gate, priority, training):
    layer, x = made(setting, residuals=0, gate=gate, priority=priority)
    layer.train(training)
    torch.testing.assert_close(layer(x), dense(layer, x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("setting", SETTINGS, ids=IDS)
def test_overflow_next_keeps_the_function_too(setting):
    layer, x = made(setting, residuals=0, overflow="next")
    torch.testing.assert_close(layer(x), dense(layer, x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("switch", [{"gate": "prob"}, {"overflow": "zero"}], ids=str)
def test_function_is_not_kept_by_the_published_gate_or_overflow(switch):
    """The negative control of the property above: it can fail."""
    layer, x = made((8, 1, 6, 10, 40, 0.5), residuals=0, **switch)
    assert (layer(x) - dense(layer, x)).abs().max() > 1e-2


# I2 --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("param", ["factored", "merged"])
@pytest.mark.parametrize("setting", SETTINGS, ids=IDS)
def test_renumbered_experts_change_nothing(setting, param):
    layer, x = made(setting, param=param)
    layer.eval()
    y = layer(x)
    before = layer.routing
    order = torch.randperm(setting[0])
    permute_experts(layer, order)
    torch.testing.assert_close(layer(x), y, rtol=1e-12, atol=1e-12)
    assert torch.equal(order[layer.routing.expert], before.expert)
    for loss in (gshard, importance):
        torch.testing.assert_close(loss(layer.routing), loss(before), rtol=1e-10, atol=1e-12)


# I3 --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("setting", [s for s in SETTINGS if s[4]], ids=[i for i in IDS if "T0" not in i])
def test_core_gradient_is_the_sum_of_the_residuals_and_the_overflow(setting):
    layer, x = made(setting, router_noise=0.0)
    layer(x).square().sum().backward()
    found = [parameter.grad.clone() for parameter in layer.core.parameters()]
    # Once more with the overflow through weights of its own, which so receive its share alone.
    alone = copy.deepcopy(layer.core)
    layer.zero_grad()
    alone.zero_grad()
    layer.core.forward = alone.forward
    layer(x).square().sum().backward()
    shares = [torch.zeros_like(p) if p.grad is None else p.grad for p in alone.parameters()]
    assert any(share.abs().max() > 0 for share in shares) == bool((~layer.routing.kept).any())
    residuals = [getattr(layer.residual, f"fc{n}_{kind}").grad.sum(0) for n in (1, 2) for kind in ("weight", "bias")]
    for core, residual, share in zip(found, residuals, shares, strict=True):
        torch.testing.assert_close(core, residual + share, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("backend", ["auto", "unbind", "bmm", "loop"])
def test_an_unused_expert_has_zero_gradient(backend):
    layer, x = made((6, 1, 4, 8, 5, 0.0), backend=backend)
    layer(x).sum().backward()
    unused = torch.ones(6, dtype=torch.bool)
    unused[layer.routing.expert.unique()] = False
    assert unused.any()
    for parameter in layer.residual.parameters():
        assert (parameter.grad[unused] == 0).all() and torch.isfinite(parameter.grad).all()


# I4 --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("setting", SETTINGS, ids=IDS)
def test_merge_and_factor_keep_the_function(setting):
    layer, x = made((*setting[:5], 0.0), router_noise=0.0)
    y, start = layer(x), copy.deepcopy(layer)
    merge(layer)
    assert layer.param == "merged" and not hasattr(layer, "residual")
    torch.testing.assert_close(layer(x), y, rtol=1e-12, atol=1e-12)
    for whole, core, residual in zip(
        layer.expert_weights(), start.core_weights(), start.residual.weights(), strict=True
    ):
        assert torch.equal(whole, core + residual)
    factor(layer)
    torch.testing.assert_close(layer(x), y, rtol=1e-12, atol=1e-12)
    for residual in layer.residual.weights():
        torch.testing.assert_close(residual.sum(0), torch.zeros_like(residual[0]), rtol=0, atol=1e-12)
    merge(layer)
    factor(layer, {"": start.core_weights()})
    torch.testing.assert_close(layer.state_dict(), start.state_dict(), rtol=1e-12, atol=1e-12)


# I5 --------------------------------------------------------------------------------------------------------------


def reference(layer, x):
    """Token by token, from the definition."""
    rows = []
    weights = layer.expert_weights()
    for token in x:
        probability = functional.linear(token, layer.router.weight).softmax(0).detach()
        chosen = sorted(range(layer.num_experts), key=lambda e: (-float(probability[e]), e))[: layer.k]
        total = sum(probability[e] for e in chosen)
        y = 0
        for e in chosen:
            fc1, b1, fc2, b2 = (tensor[e] for tensor in weights)
            gate = 1 if layer.k == 1 else probability[e] / total
            y = y + gate * functional.linear(layer.act(functional.linear(token, fc1, b1)), fc2, b2)
        rows.append(y)
    return torch.stack(rows) if rows else torch.zeros_like(x)


@pytest.mark.parametrize("setting", SETTINGS, ids=IDS)
def test_dropless_equals_the_loop_over_tokens(setting):
    layer, x = made((*setting[:5], 0.0))
    torch.testing.assert_close(layer.eval()(x), reference(layer, x), rtol=1e-12, atol=1e-12)
    layer.eval_capacity_factor = float(layer.num_experts)
    torch.testing.assert_close(layer(x), reference(layer, x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("backend", ["unbind", "bmm"])
@pytest.mark.parametrize("overflow", ["core", "zero", "next"])
@pytest.mark.parametrize("setting", SETTINGS, ids=IDS)
def test_back_ends_agree_in_every_gradient(setting, overflow, backend):
    layer, x = made(setting, overflow=overflow, backend="loop", router_noise=0.0)
    other = copy.deepcopy(layer)
    other.backend = backend
    gradient = torch.randn_like(x)
    results = []
    for each in (layer, other):
        inputs = x.clone().requires_grad_()
        y = each(inputs)
        y.backward(gradient)
        results.append([y, inputs.grad, *(p.grad for p in each.parameters())])
    for found, wanted in zip(*results, strict=True):
        if wanted is not None:
            torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-11)


def test_grouped_equals_the_loop_in_float32():
    layer, x = made((8, 2, 16, 32, 70, 1.0), router_noise=0.0)
    layer, x = layer.float(), x.float()
    results = []
    for backend in ("loop", "grouped"):
        layer.backend = backend
        layer.zero_grad()
        inputs = x.clone().requires_grad_()
        y = layer(inputs)
        y.sum().backward()
        results.append([y, inputs.grad, *(p.grad.clone() for p in layer.parameters())])
    for found, wanted in zip(*results, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-4)


# I9, I11 and the rest --------------------------------------------------------------------------------------------


def test_dropless_evaluation_of_an_image_does_not_depend_on_its_batch():
    layer, _ = made((8, 1, 6, 10, 0, 0.0))
    layer.eval()
    images = torch.randn(3, 5, 5, 6, dtype=torch.float64)
    torch.testing.assert_close(layer(images)[1:2], layer(images[1:2]), rtol=1e-12, atol=1e-12)
    layer.eval_capacity_factor = 0.5
    assert (layer(images)[1:2] - layer(images[1:2])).abs().max() > 1e-3


def test_same_seed_same_routing():
    layer, x = made((8, 1, 6, 10, 40, 1.25))
    outputs = []
    for _ in range(2):
        torch.manual_seed(3)
        outputs.append((layer(x), layer.routing.expert))
    assert torch.equal(outputs[0][0], outputs[1][0]) and torch.equal(outputs[0][1], outputs[1][1])


def test_activation_checkpointing_replays_the_noise():
    layer, x = made((8, 1, 6, 10, 40, 1.25), router_noise=8.0)
    gradients = []
    for replay in (False, True):
        torch.manual_seed(5)
        layer.zero_grad()
        inputs = x.clone().requires_grad_()
        y = checkpoint(layer, inputs, use_reentrant=False) if replay else layer(inputs)
        loss = y.square().sum() + auxiliary_losses(layer)["importance"]
        loss.backward()
        gradients.append([inputs.grad, *(p.grad.clone() for p in layer.parameters())])
    for found, wanted in zip(*gradients, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)


def test_router_learns_from_the_task_at_once_with_straight_through_only():
    for gate, learns in (("straight_through", True), ("prob", True), ("residual", True), ("normalized", False)):
        layer, x = made((8, 1, 6, 10, 40, 0.0), gate=gate)
        layer(x).square().sum().backward()
        gradient = layer.router.weight.grad
        assert (gradient is not None and gradient.abs().max() > 0) == learns, gate


def test_residual_gate_with_zero_residuals_still_trains_the_residuals():
    layer, x = made((8, 1, 6, 10, 40, 0.0), residuals=0, gate="residual")
    layer(x).square().sum().backward()
    assert layer.residual.fc1_weight.grad.abs().max() > 0


@pytest.mark.parametrize("rank", [1, 3])
def test_low_rank_residuals_start_at_zero_and_learn(rank):
    layer, x = made((4, 1, 6, 10, 30, 0.0), residual_rank=rank)
    fresh = ResidualMoE(6, 10, 4, residual_rank=rank).double()
    torch.testing.assert_close(fresh(x), dense(fresh, x), rtol=1e-12, atol=1e-12)
    fresh(x).square().sum().backward()
    assert fresh.residual.fc1_b.grad.abs().max() > 0
    for core, whole in zip(layer.core_weights(), layer.expert_weights(), strict=True):
        if whole.ndim == 3:
            assert torch.linalg.matrix_rank(whole - core).max() <= rank
    y = layer.eval()(x)
    merge(layer)
    torch.testing.assert_close(layer(x), y, rtol=1e-12, atol=1e-12)


def test_noise_starts_residuals_in_proportion_to_the_core():
    core = FeedForward(64, 128)
    layer = from_feed_forward(core, residual_init="noise:0.1")
    for residual, tensor in zip(layer.residual.weights(), layer.core_weights(), strict=True):
        assert 0.08 < float(residual.std() / tensor.std()) < 0.12


@pytest.mark.parametrize("training", [True, False])
def test_side_branch_starts_as_the_core(training):
    layer = from_feed_forward(FeedForward(6, 10).double(), form="side_branch", capacity_factor=0.5).train(training)
    x = torch.randn(40, 6, dtype=torch.float64)
    torch.testing.assert_close(layer(x), layer.core(x), rtol=1e-12, atol=1e-12)
    layer(x).square().sum().backward()
    assert layer.residual.fc2_weight.grad.abs().max() > 0


@pytest.mark.parametrize(("param", "trained"), [("factored", True), ("frozen_core", False), ("merged", False)])
def test_what_is_trained(param, trained):
    layer = from_feed_forward(FeedForward(4, 8), param=param)
    assert all(p.requires_grad == trained for p in layer.core.parameters())
    experts = layer.experts if param == "merged" else layer.residual
    assert all(p.requires_grad for p in experts.parameters())
    x = torch.randn(20, 4)
    torch.testing.assert_close(layer(x), layer.core(x))


def test_inference_keeps_the_sum_of_the_weights_until_a_parameter_changes():
    layer, x = made((4, 1, 6, 10, 30, 0.0))
    layer.eval()
    with torch.no_grad():
        first = layer.expert_weights()
        assert layer.expert_weights() is first
        before = layer(x)
        layer.residual.fc1_weight += 1
        assert layer.expert_weights() is not first
        assert (layer(x) - before).abs().max() > 1e-3
    layer.expert_weights()
    assert layer._merged is None


def test_a_layer_that_has_run_can_be_copied():
    layer, x = made((4, 1, 6, 10, 30, 0.0))
    layer(x)
    assert torch.equal(copy.deepcopy(layer).eval()(x), layer.eval()(x))


def test_bf16_autocast_routes_as_float32():
    layer = ResidualMoE(32, 64, 8, router_noise=0.0).eval()
    x = torch.randn(300, 32).bfloat16()
    layer.float()(x.float())
    wanted = layer.routing
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(x)
    assert y.dtype == torch.bfloat16
    assert torch.equal(layer.routing.expert, wanted.expert) and torch.equal(layer.routing.logits, wanted.logits)


def test_padding_is_routed_but_not_counted():
    layer, _ = made((4, 1, 6, 10, 0, 0.0))
    layer.eval()
    x = torch.randn(2, 5, 5, 6, dtype=torch.float64)
    padding = torch.zeros(2, 5, 5, dtype=torch.bool)
    padding[1, 3:] = True
    y = layer(x, padding)
    assert torch.equal(y, layer(x))
    layer(x, padding)
    masked = gshard(layer.routing)
    layer(x.reshape(-1, 6)[~padding.reshape(-1)])
    torch.testing.assert_close(masked, gshard(layer.routing))


def test_balance_bias_moves_towards_the_unused_experts_and_changes_only_the_selection():
    layer, x = made((4, 1, 6, 10, 200, 0.0), balance="bias", balance_rate=0.05, router_noise=0.0)
    with torch.no_grad():
        layer.router.weight[0] += 0.1
    shares = []
    for _ in range(40):
        layer(x)
        shares.append(layer.routing.expert.reshape(-1).bincount(minlength=4).double().std())
        update_balance(layer)
    assert shares[-1] < shares[0] / 2
    assert layer.selection_bias.abs().max() > 0
    assert torch.equal(layer.routing.probability, layer.routing.logits.softmax(1))


@pytest.mark.parametrize(
    ("switches", "words"),
    [
        ({"k": 9}, "k must be between 1"),
        ({"gate": "soft"}, "gate 'soft' is unknown"),
        ({"overflow": "drop"}, "overflow 'drop' is unknown"),
        ({"residual_init": "noise"}, "residual_init 'noise' is unknown"),
        ({"param": "merged", "residual_rank": 2}, "whole weights"),
        ({"residual_rank": 99}, "residual_rank 99"),
        ({"backend": "fast"}, "'fast' is unknown"),
    ],
)
def test_switches_that_do_not_exist_are_refused(switches, words):
    with pytest.raises(ValueError, match=words):
        ResidualMoE(8, 16, **switches)


def test_exported_program_equals_the_layer_for_any_number_of_tokens():
    layer = from_feed_forward(FeedForward(8, 16), router_init_std=1.0, residual_init="noise:1").eval()
    program = torch.export.export(
        layer, (torch.randn(20, 8),), dynamic_shapes=({0: torch.export.Dim("tokens", min=2)},)
    ).module()
    for tokens in (3, 20, 57):
        x = torch.randn(tokens, 8)
        torch.testing.assert_close(program(x), layer(x), rtol=1e-5, atol=1e-5)


def test_settings_cover_the_extremes():
    experts, k, _, _, tokens, factors = zip(*SETTINGS, strict=True)
    assert 1 in experts and {0, 1} <= set(tokens) and {0.0, 0.1} <= set(factors)
    assert any(a == b for a, b in itertools.zip_longest(experts, k))
