import copy

import pytest
import torch

from si_adv.models.pointnet2 import GlobalAbstraction, SetAbstraction, SetAbstractionMsg


def levels(kind, channels):
    """Two levels in float64 with norms of both signs, and a copy whose layers run one after the other."""
    torch.manual_seed(0)
    if kind == "one radius":
        first, width = SetAbstraction(12, 0.7, 6, (3 + channels, 8, 9)), 9
    else:
        first, width = SetAbstractionMsg(12, (0.4, 0.9), (4, 6), channels, ((8, 5), (6, 7))), 12
    second = SetAbstraction(4, 1.0, 5, (3 + width, 7, 10))
    ours = torch.nn.ModuleList([first, second, GlobalAbstraction((13, 12, 11))]).double().train()
    with torch.no_grad():
        for module in ours.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.weight.normal_()
                module.bias.normal_()
    stored = copy.deepcopy(ours)
    for module in stored.modules():
        module.register_forward_hook(lambda *_: None)
    return ours, stored


def through(levels, points, features):
    for level in levels:
        points, features = level(points, features)
    return features


@pytest.mark.parametrize("kind", ["one radius", "several radii"])
@pytest.mark.parametrize("channels", [0, 3])
@pytest.mark.parametrize("copies", [1, 3])
def test_training_before_the_grouping_is_training_on_groups(kind, channels, copies):
    """Outputs, gradients and running statistics, also where points lie on each other and balls are padded."""
    ours, stored = levels(kind, channels)
    cloud = (torch.randn(4, 3 + channels, 30 // copies, dtype=torch.float64) / 2).repeat(1, 1, copies)
    results = []
    for network in (ours, stored):
        given = cloud.clone().requires_grad_()
        output = through(network, given[:, :3], given[:, 3:] if channels else None)
        output.sin().sum().backward()
        results.append((output, given.grad))
    torch.testing.assert_close(*results)
    for (name, parameter), other in zip(ours.named_parameters(), stored.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, other.grad, msg=lambda text, name=name: f"{name}: {text}")
    torch.testing.assert_close(list(ours.buffers()), list(stored.buffers()))
