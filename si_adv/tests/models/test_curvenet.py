import pytest
import torch

from si_adv.models.curvenet import CurveNet, Walk, _crossover_suppression


def clouds(batch: int, num_points: int = 1024) -> torch.Tensor:
    x = torch.randn(batch, 3, num_points, generator=torch.Generator().manual_seed(0))
    return x / x.norm(dim=1, keepdim=True)


@pytest.fixture(scope="module")
def model() -> CurveNet:
    torch.manual_seed(0)
    return CurveNet(10).eval()


def test_parameter_count_is_the_published_one():
    assert sum(parameter.numel() for parameter in CurveNet(40).parameters()) == 2_140_672


def test_a_cloud_has_the_same_logits_alone_and_in_a_batch(model):
    x = clouds(4)
    with torch.no_grad():
        torch.testing.assert_close(model(x)[2:3], model(x[2:3]), rtol=1e-4, atol=1e-5)


def test_gradient_reaches_a_single_cloud(model):
    x = clouds(1).requires_grad_()
    (gradient,) = torch.autograd.grad(model(x).square().sum(), x)
    assert torch.isfinite(gradient).all()
    assert (gradient.abs().amax(1) > 0).float().mean() > 0.9


@pytest.mark.parametrize("num_points", [524, 1500])
def test_clouds_of_another_size_are_brought_to_1024_points(model, num_points):
    seen = []
    handle = model.cic11.register_forward_hook(lambda module, inputs, output: seen.append(output[1].shape[-1]))
    with torch.no_grad():
        logits = model(clouds(1, num_points))
    handle.remove()
    assert seen == [1024]
    assert torch.isfinite(logits).all()


def test_a_curve_is_made_of_points_each_a_neighbour_of_the_one_before():
    torch.manual_seed(0)
    x, neighbours = torch.randn(1, 4, 50), torch.randint(50, (1, 50, 6))
    start = torch.tensor([[3, 17, 40]])
    curves = Walk(4, length=5).eval()(x, neighbours, start)
    for curve in range(3):
        current = start[0, curve].item()
        for step in range(5):
            distances = (x[0] - curves[0, :, curve, step, None]).norm(dim=0)
            assert distances.min() < 1e-5
            assert distances.argmin() in neighbours[0, current]
            current = distances.argmin().item()


def test_steps_that_turn_back_are_damped_and_others_are_not():
    direction = torch.tensor([1.0, 0.0])[None, :, None]
    steps = torch.tensor([[1.0, 0.0], [0.0, 2.0], [-3.0, 0.0], [-1.0, 3**0.5]]).T[None, :, None]
    torch.testing.assert_close(_crossover_suppression(direction, steps)[0, 0], torch.tensor([1.0, 1.0, 0.0, 0.5]))
