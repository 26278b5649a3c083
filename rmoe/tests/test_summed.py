"""The kept memory of core + residual: the numbers of a plain sum, whatever the order of the passes, or an error."""

import copy

import pytest
import torch

from rmoe.moe import FeedForward, summed
from rmoe.moe.convert import from_feed_forward


@pytest.fixture
def layers(monkeypatch):
    """A layer with kept memory, and the same one whose sum is made anew each time."""
    monkeypatch.setattr(summed, "FROM", 0)
    kept = from_feed_forward(FeedForward(8, 16), experts=4, residual_init="noise:1", router_init_std=1.0)
    plain = copy.deepcopy(kept)
    plain.expert_weights = lambda: plain.core_weights().plus(plain.residual.weights())
    return kept, plain


def gradients(layer):
    return [parameter.grad for parameter in layer.parameters()]


def test_steps_are_those_of_a_plain_sum_to_the_bit(layers):
    inputs = torch.randn(3, 20, 8)
    found = []
    for layer in layers:
        torch.manual_seed(1)
        optimizer = torch.optim.SGD(layer.parameters(), 0.1)
        for x in inputs:
            optimizer.zero_grad()
            y = layer(x)
            y.square().sum().backward()
            optimizer.step()
        found.append([y, *gradients(layer), *layer.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_memory_is_used_again_after_the_backward_pass_and_not_before(layers):
    kept, x = layers[0], torch.randn(20, 8)
    first = kept(x)
    block = kept._memory[0].block
    kept(x)
    assert kept._memory[0].block is not block, "the first pass still needs its weights"
    block = kept._memory[0].block
    del first
    kept(x).sum().backward()
    assert kept._memory[0].block is block


def test_a_pass_that_waits_keeps_its_weights_when_the_parameters_change(layers):
    x, found = torch.randn(2, 20, 8), []
    for layer in layers:
        torch.manual_seed(1)
        first = layer(x[0])
        with torch.no_grad():
            layer.core.fc1.weight.data.mul_(2)  # behind autograd's back, as an optimiser of another process would
        layer(x[1]).sum().backward()
        first.sum().backward()
        found.append(gradients(layer))
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_weights_that_are_gone_are_an_error_and_not_another_gradient(layers):
    kept, x = layers[0], torch.randn(20, 8)
    loss = kept(x).sum()
    loss.backward(retain_graph=True)
    loss.backward(retain_graph=True)
    kept(x).sum().backward()
    with pytest.raises(RuntimeError, match="the weights of the first are gone"):
        loss.backward()


def test_evaluation_and_copies_hold_no_memory_of_training(layers):
    kept, x = layers[0], torch.randn(20, 8)
    kept(x).sum().backward()
    assert kept._memory[0].block is not None and copy.deepcopy(kept)._memory[0].block is None
    with torch.no_grad():
        kept.eval()(x)
    assert kept._memory[0].block is None
