import copy

import pytest
import torch
from torch import nn

from si_adv.models.pointwise import max_over_points, moments, pointwise, pointwise_max


def layers(seed=0):
    """A convolution and a batch norm with weights of both signs, in float64 so that only the formulas differ."""
    torch.manual_seed(seed)
    conv, norm = nn.Conv1d(6, 40, 1).double(), nn.BatchNorm1d(40).double()
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    return conv, norm


def stored(x, conv, norm):
    return max_over_points(norm(conv(x.transpose(1, 2))))


def stored_rows(x, conv, norm):
    return norm(conv(x.transpose(1, 2))).transpose(1, 2)


@pytest.mark.parametrize(("short", "long"), [(pointwise_max, stored), (pointwise, stored_rows)])
@pytest.mark.parametrize("num_points", [64, 50])
def test_the_short_way_through_training_is_the_stored_layers(num_points, short, long):
    ours, theirs = layers(), copy.deepcopy(layers())
    outputs, gradients = [], []
    for function, (conv, norm) in ((short, ours), (long, theirs)):
        x = torch.randn(5, num_points, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) + 3
        x.requires_grad_()
        output = function(x, conv, norm)
        output.sin().sum().backward()
        outputs.append(output)
        gradients.append([x.grad, conv.weight.grad, norm.weight.grad, norm.bias.grad])
    torch.testing.assert_close(*outputs)
    torch.testing.assert_close(*gradients)
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        torch.testing.assert_close(getattr(ours[1], name), getattr(theirs[1], name))


def test_moments_of_rows_far_from_the_origin_do_not_cancel():
    rows = torch.randn(2, 50, 4)
    mean, covariance = moments(rows + 1000)
    expected = torch.cov(rows.double().flatten(0, 1).T, correction=0)
    torch.testing.assert_close(covariance.double(), expected, atol=1e-3, rtol=0)
    torch.testing.assert_close(mean, (rows + 1000).mean((0, 1)))


def test_the_gradient_of_moments_is_their_derivative():
    rows = torch.randn(3, 7, 4, dtype=torch.float64, requires_grad=True)
    torch.autograd.gradcheck(moments, (rows,))


def test_the_bias_before_a_norm_gets_a_gradient_of_zero():
    # Not none: distributed training waits for every parameter.
    conv, norm = layers()
    pointwise_max(torch.randn(3, 20, 6, dtype=torch.float64), conv, norm).sum().backward()
    assert conv.bias.grad.abs().max() < 1e-12


def test_hooked_layers_run_as_they_are_in_training():
    conv, norm = layers()
    seen = []
    norm.register_forward_hook(lambda _, __, output: seen.append(output.shape))
    pointwise_max(torch.randn(3, 20, 6, dtype=torch.float64), conv, norm)
    assert seen == [(3, 40, 20)]


def test_half_precision_keeps_the_stored_layers_statistics():
    conv, norm = (layer.float() for layer in layers())
    x = torch.randn(3, 64, 6) + 30
    with torch.autocast("cpu", torch.bfloat16):
        expected = stored(x, *copy.deepcopy((conv, norm)))
        torch.testing.assert_close(pointwise_max(x, conv, norm), expected)
