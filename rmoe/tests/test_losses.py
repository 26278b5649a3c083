"""Values of the auxiliary losses where they are known, and what they are sums of."""

import math

import pytest
import torch
from torch import nn

from rmoe.moe import ResidualMoE, auxiliary_losses
from rmoe.moe.layer import update_balance
from rmoe.moe.losses import LOSSES, gshard, importance, load_importance, z_loss
from rmoe.moe.routing import route
from shared_utils import distributed


@pytest.mark.parametrize("experts", [2, 5, 8])
def test_a_uniform_router_is_balanced(experts):
    routing = route(torch.zeros(40, experts, dtype=torch.float64))
    assert math.isclose(float(gshard(routing)), 1, rel_tol=1e-12)
    assert math.isclose(float(importance(routing)), 0, abs_tol=1e-12)
    assert math.isclose(float(z_loss(routing)), math.log(experts) ** 2, rel_tol=1e-12)


@pytest.mark.parametrize("experts", [2, 5, 8])
def test_all_tokens_on_one_expert_cost_the_number_of_experts(experts):
    logits = torch.full((40, experts), -1e3, dtype=torch.float64)
    logits[:, 1] = 1e3
    routing = route(logits)
    assert math.isclose(float(gshard(routing)), experts, rel_tol=1e-9)
    assert math.isclose(float(importance(routing)), experts, rel_tol=1e-9)


def test_one_expert_and_no_tokens_are_no_trouble():
    for routing in (route(torch.randn(6, 1)), route(torch.randn(0, 4))):
        for name, loss in LOSSES.items():
            assert torch.isfinite(loss(routing)), name


def test_gradient_of_gshard_goes_through_the_probabilities_only():
    logits = torch.randn(30, 4, dtype=torch.float64, requires_grad=True)
    routing = route(logits)
    share = routing.expert[:, 0].bincount(minlength=4) / 30
    (found,) = torch.autograd.grad(gshard(routing), logits)
    (wanted,) = torch.autograd.grad(4 * (share * logits.softmax(1).mean(0)).sum(), logits)
    torch.testing.assert_close(found, wanted)


def test_load_compares_logits_with_logits_unless_published_units_are_asked_for():
    logits = torch.randn(50, 6, dtype=torch.float64)
    routing = route(logits, 2, noise=torch.randn(50, 6, dtype=torch.float64) / 6)
    third = routing.noisy_logits.sort(1, descending=True).values[:, 1:2]
    load = torch.special.ndtr((logits - third) * 6).sum(0)
    wanted = (importance(routing) + load.var() / (load.mean() ** 2 + 1e-10)) / 2
    torch.testing.assert_close(load_importance(routing), wanted)
    assert (load_importance(routing, published_units=True) - wanted).abs() > 1e-3
    with pytest.raises(ValueError, match="router_noise > 0"):
        load_importance(routing, gate_noise=0)


def test_losses_of_a_model_are_summed_over_its_layers():
    model = nn.Sequential(*(ResidualMoE(6, 8, 4, router_init_std=1.0) for _ in range(3)))
    model(torch.randn(20, 6))
    found = auxiliary_losses(model, ("importance", "z", "load_importance"))
    assert set(found) == {"importance", "z", "load_importance"}
    torch.testing.assert_close(found["importance"], sum(importance(layer.routing) for layer in model))
    assert auxiliary_losses(nn.Linear(2, 2)) == {}


def test_what_does_not_exist_or_has_not_run_is_named():
    with pytest.raises(ValueError, match="choose of gshard"):
        auxiliary_losses(ResidualMoE(4, 8), ("entropy",))
    with pytest.raises(RuntimeError, match="0 has not routed"):
        auxiliary_losses(nn.Sequential(ResidualMoE(4, 8)))


def test_a_process_on_its_own_balances_its_own_tokens(monkeypatch):
    def nobody(*_, **__):
        raise AssertionError("a part of a shared job waited for another process")

    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda *_: 2)
    monkeypatch.setattr(torch.distributed, "all_reduce", nobody)
    routing = route(torch.randn(30, 4))
    layer = ResidualMoE(8, 16, 4, balance="bias")
    with distributed.alone():
        assert gshard(routing, global_balance=True) == gshard(routing)
        update_balance(layer)
    with pytest.raises(AssertionError, match="waited"):
        gshard(routing, global_balance=True)
    with pytest.raises(AssertionError, match="waited"):
        update_balance(layer)
