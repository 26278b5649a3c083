import pytest
import torch

from si_adv.models import dgcnn
from si_adv.models.dgcnn import DGCNN


def network():
    """A small one in float64, so that only the formulas differ, with norms of both signs."""
    torch.manual_seed(0)
    model = DGCNN(3, k=5, embedding=16, dropout=0.0).double().train()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
                module.weight.normal_()
                module.bias.normal_()
    return model


@pytest.mark.parametrize("copies", [1, 4])
def test_training_without_edges_is_training_on_edges(monkeypatch, copies):
    """Outputs, gradients and running statistics, also where points lie on each other and neighbours tie."""
    ours, theirs = network(), network()
    clouds = torch.randn(4, 3, 40 // copies, dtype=torch.float64).repeat(1, 1, copies)
    outputs = ours(clouds)
    monkeypatch.setattr(dgcnn, "trains_from_moments", lambda *_: False)
    expected = theirs(clouds)
    torch.testing.assert_close(outputs, expected)
    outputs.sin().sum().backward()
    expected.sin().sum().backward()
    for (name, parameter), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, other.grad, msg=lambda text, name=name: f"{name}: {text}")
    torch.testing.assert_close(list(ours.buffers()), list(theirs.buffers()))


def test_the_edges_are_made_for_whoever_has_a_hook():
    model, seen = network(), []
    model.conv2.register_forward_hook(lambda _, __, output: seen.append(output.shape))
    clouds = torch.randn(2, 3, 30, dtype=torch.float64)
    hooked = model(clouds)
    assert seen == [(2, 64, 30, 5)]
    torch.testing.assert_close(hooked, network()(clouds))


def test_moments_of_points_far_from_the_origin_do_not_cancel():
    near = torch.randn(2, 50, 4)
    indices = torch.randint(0, 50, (2, 50, 6))
    _, expected = dgcnn._edge_moments(near.double(), indices)
    _, covariance = dgcnn._edge_moments(near + 1000, indices)
    torch.testing.assert_close(covariance.double(), expected, atol=1e-3, rtol=0)
