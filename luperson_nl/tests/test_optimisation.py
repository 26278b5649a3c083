"""LARS by its definition, and the schedules of the recipes at their corners."""

import pytest
import torch
from torch import nn

from luperson_nl.models.trunks import build_trunk
from luperson_nl.optimisation import LARS, Schedule, finetuning_groups, lars_groups


def test_lars_without_adaptation_is_sgd():
    first, second = nn.Linear(4, 3), nn.Linear(4, 3)
    second.load_state_dict(first.state_dict())
    ours = LARS([{"params": first.parameters(), "layer_adaptation": False}], 0.1, 0.9, 0.01)
    plain = torch.optim.SGD(second.parameters(), 0.1, 0.9, weight_decay=0.01)
    for _ in range(3):
        x = torch.randn(5, 4)
        for net, optimizer in ((first, ours), (second, plain)):
            optimizer.zero_grad()
            net(x).square().sum().backward()
            optimizer.step()
    torch.testing.assert_close(first.weight, second.weight)


@pytest.mark.parametrize("published", [False, True])
def test_an_adapted_step_has_the_length_of_its_weights(published):
    weight, decay, trust = nn.Parameter(torch.randn(3, 4)), 0.1, 0.001
    start, gradient = weight.detach().clone(), torch.randn(3, 4)
    weight.grad = gradient.clone()
    LARS([weight], 0.5, 0.9, decay, published=published).step()
    update = gradient + decay * start
    scale = trust * start.norm() / (update.norm() + decay * start.norm() + 1e-8)
    if published:  # the decay a second time, after the norms
        update = update + decay * start
    torch.testing.assert_close(weight.detach(), start - 0.5 * scale * update)
    assert torch.equal(weight.grad, gradient)


def test_norms_and_biases_keep_their_step():
    trunk = build_trunk("resnet_mini")
    plain, adapted = lars_groups(trunk)
    assert all(value.dim() == 1 for value in plain["params"]) and all(value.dim() == 4 for value in adapted["params"])
    assert plain["weight_decay"] == 0
    counts = [len(group["params"]) for group in lars_groups(trunk, published=True)]
    assert counts == [len(plain["params"]), len(adapted["params"])]
    rates = [group["lr"] for group in finetuning_groups(nn.Linear(2, 2), 0.1, bias_lr_factor=2)]
    assert rates == [0.1, 0.2]


def test_schedules_of_the_recipes():
    pretraining = Schedule(90, "steps", (40, 80))
    assert [pretraining(epoch) for epoch in (0, 39.9, 40, 85)] == pytest.approx([1, 1, 0.1, 0.01])
    mgn = Schedule(60, "cosine", warmup=10, flat=30, floor=7.7e-7 / 3.5e-4)
    assert [mgn(epoch) for epoch in (0, 5, 10, 30, 45, 60)] == pytest.approx(
        [0.01, 0.505, 1, 1, 0.5011, 0.0022], abs=1e-3
    )
    assert Schedule(5, "none")(4) == 1
