"""The losses, against their definitions."""

import torch

from mrf_unroll.losses import ProxNetLoss, map_loss, measurement_loss
from mrf_unroll.models import Iterates


def _dense_problem():
    generator = torch.Generator().manual_seed(0)
    matrix = torch.complex(*torch.randn(2, 30, 2 * 4 * 3, generator=generator, dtype=torch.float64))
    x = torch.randn(3, 2, 4, 3, generator=generator, dtype=torch.float64)
    y = torch.complex(*torch.randn(2, 3, 30, generator=generator, dtype=torch.float64))

    def forward(x):
        return x.flatten(1).to(torch.complex128) @ matrix.T

    def normal(x):
        return (forward(x) @ matrix.conj()).real.reshape(x.shape)

    adjoint = (y @ matrix.conj()).real.reshape(x.shape)
    return x, y, forward, normal, adjoint


def test_measurement_loss_is_the_mse_over_real_and_imaginary_parts():
    x, y, forward, normal, adjoint = _dense_problem()
    explicit = torch.view_as_real(forward(x) - y).square().mean()
    found = measurement_loss(x, normal, adjoint, y.abs().square().sum(dim=1), 30)
    torch.testing.assert_close(found, explicit)


def test_measurement_loss_has_the_gradient_of_the_mse():
    x, y, forward, normal, adjoint = _dense_problem()
    one, other = (x.clone().requires_grad_() for _ in range(2))
    torch.view_as_real(forward(one) - y).square().mean().backward()

    class SelfAdjoint(torch.autograd.Function):
        @staticmethod
        def forward(ctx, value):
            return normal(value)

        @staticmethod
        def backward(ctx, gradient):
            return normal(gradient)

    measurement_loss(other, SelfAdjoint.apply, adjoint, y.abs().square().sum(dim=1), 30).backward()
    torch.testing.assert_close(one.grad, other.grad)


def test_map_loss_weighs_the_maps():
    maps = torch.zeros(2, 3, 4, 4)
    target = torch.ones(2, 3, 4, 4)
    assert float(map_loss(maps, target, (1.0, 20.0, 2.5))) == 23.5


def test_intermediate_supervision_counts_every_earlier_iterate():
    maps = [torch.full((1, 3, 2, 2), value) for value in (2.0, 1.0, 0.0)]
    series = [torch.zeros(1, 4, 2, 2)] * 3
    target, truth = torch.zeros(1, 3, 2, 2), torch.zeros(1, 4, 2, 2)
    arguments = (Iterates([], maps, series), target, truth, torch.clone, truth, torch.zeros(1), 5)
    plain = ProxNetLoss(measurement_weight=0.0)(*arguments)
    deep = ProxNetLoss(measurement_weight=0.0, intermediate=0.1)(*arguments)
    assert float(plain.total) == 0
    torch.testing.assert_close(deep.total, torch.tensor(0.1 * 23.5 * (4 + 1)))
