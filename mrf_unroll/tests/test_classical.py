"""Classical methods: residuals and objectives fall, solutions are what they claim, items of a batch are independent."""

from itertools import pairwise

import pytest
import torch

from mrf_unroll.classical import (
    conjugate_gradient,
    lrtv,
    pnp_admm,
    prox_tv,
    total_variation,
    tv_denoiser,
    zero_filled,
)
from mrf_unroll.operators import SubspaceOperator, ToeplitzNormal
from mrf_unroll.trajectory import golden_spiral, spiral_dcf

SIZE = (16, 18)


@pytest.fixture(scope="module")
def problem():
    """Piecewise constant TSMIs of rank 2, undersampled, two items of different scale, with noise."""
    generator = torch.Generator().manual_seed(0)
    trajectory = golden_spiral(20, 24, 3)
    basis = torch.linalg.qr(torch.randn(20, 2, generator=generator).double())[0]
    operator = SubspaceOperator(trajectory, basis, SIZE, dcf=spiral_dcf(trajectory))
    x = torch.zeros(2, 2, *SIZE)
    x[:, 0, 3:12, 4:14], x[:, 1, 6:14, 2:9] = 1.0, -0.5
    x[1] *= 3
    y = operator(x)
    y = y + 0.02 * torch.view_as_complex(torch.randn(*y.shape, 2, generator=generator))
    return operator, ToeplitzNormal.from_operator(operator), x, y


def error(found, x):
    return float((found - x).norm() / x.norm())


def test_the_zero_filled_image_has_the_best_scale(problem):
    operator, normal, _, y = problem
    h = operator.weighted_adjoint(y).real.contiguous()
    x = zero_filled(h, normal)

    def misfit(factor):
        return (normal(factor * x) - h).flatten(1).norm(dim=1)

    assert (misfit(1.0) < misfit(0.95)).all() and (misfit(1.0) < misfit(1.05)).all()


@pytest.mark.parametrize("complex_valued", [False, True])
def test_conjugate_gradients_solve_the_normal_equations(problem, complex_valued):
    operator, normal, x, y = problem
    h = operator.weighted_adjoint(y)
    h = h if complex_valued else h.real.contiguous()
    solved = conjugate_gradient(normal, h, lam=0.05, iterations=40, tol=1e-5)
    residual = (normal(solved.x) + 0.05 * solved.x - h).flatten(1).norm(dim=1) / h.flatten(1).norm(dim=1)
    assert (residual < 2e-5).all() and torch.allclose(solved.history[-1], residual, atol=1e-5)
    assert solved.x.is_complex() == complex_valued
    assert (solved.history[5] < 0.2 * solved.history[0]).all(), "the residual falls"
    assert error(solved.x, x) < error(zero_filled(h, normal), x)


def test_the_error_of_conjugate_gradients_falls_in_the_energy_norm(problem):
    operator, normal, _, y = problem
    h = operator.weighted_adjoint(y).real.contiguous()
    exact = conjugate_gradient(normal, h, 0.05, 200, 1e-7).x
    energies = []
    for iterations in range(1, 12):
        e = conjugate_gradient(normal, h, 0.05, iterations).x - exact
        energies.append(float((e * (normal(e) + 0.05 * e)).sum()))
    assert all(later < sooner for sooner, later in pairwise(energies))


def test_every_item_is_solved_as_if_alone(problem):
    operator, normal, _, y = problem
    h = operator.weighted_adjoint(y).real.contiguous()
    for method in (
        lambda h: conjugate_gradient(normal, h, 0.01, 15, 1e-2),
        lambda h: lrtv(h, normal, 1e-2, iterations=20, tol=1e-3),
        lambda h: pnp_admm(h, normal, tv_denoiser(0.02), 0.05, 5),
    ):
        together = method(h)
        for item in range(2):
            alone = method(h[item : item + 1])
            assert error(together.x[item], alone.x[0]) < 1e-4
            assert together.iterations[item] == alone.iterations[0]


def test_the_objective_of_lrtv_falls_with_every_step(problem):
    operator, normal, x, y = problem
    h = operator.weighted_adjoint(y).real.contiguous()
    energy = (operator.weighted(y) * y.conj()).real.flatten(1).sum(dim=1)
    # A first step that is far too long has to be halved.
    start = torch.full((2,), 50.0)
    solved = lrtv(h, normal, 2e-2, step=start, iterations=60, tol=0.0, data_energy=energy)
    assert (solved.history.diff(dim=0) <= 0).all()
    assert (solved.history[-1] < 0.2 * solved.history[0]).all()
    direct = operator(solved.x) - y
    misfit = 0.5 * (operator.weighted(direct) * direct.conj()).real.flatten(1).sum(dim=1)
    assert torch.allclose(misfit + 2e-2 * total_variation(solved.x), solved.history[-1], rtol=1e-3)
    assert error(solved.x, x) < error(conjugate_gradient(normal, h, 0.0, 10).x, x)


def test_a_stopping_rule_stops(problem):
    operator, normal, _, y = problem
    h = operator.weighted_adjoint(y).real.contiguous()
    solved = lrtv(h, normal, 2e-2, iterations=200, tol=1e-2)
    assert (solved.iterations < 100).all()


def test_complex_images_are_denoised_by_parts(problem):
    operator, normal, x, y = problem
    h = operator.weighted_adjoint(1j * y)
    solved = lrtv(h, normal, 2e-2, iterations=30)
    assert solved.x.is_complex() and error(solved.x, 1j * x) < 0.6
    both = prox_tv(x + 2j * x, torch.tensor([0.1, 0.1]))
    assert torch.allclose(both.real, prox_tv(x, torch.tensor([0.1, 0.1])), atol=1e-5)


def test_the_proximal_map_solves_its_problem():
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(1, 1, 12, 11, generator=generator)
    weight = torch.tensor([0.3])
    z = prox_tv(x, weight, 400)

    def objective(image):
        return 0.5 * (image - x).square().sum() + 0.3 * total_variation(image)[0]

    assert objective(z) < objective(x)
    for seed in range(20):
        nudge = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed))
        assert objective(z + 1e-2 * nudge) > objective(z) - 1e-6
    assert torch.allclose(prox_tv(x, torch.tensor([0.0])), x)
    assert prox_tv(x, torch.tensor([1e3]), 400).std() < 0.02, "with a large weight only the mean is left"


def test_plug_and_play_reaches_agreement(problem):
    operator, normal, x, y = problem
    h = operator.weighted_adjoint(y).real.contiguous()
    solved = pnp_admm(h, normal, tv_denoiser(0.02), gamma=0.05, iterations=30)
    assert (solved.history[-1] < 0.1).all() and (solved.history[-1] < solved.history[1]).all()
    assert error(solved.x, x) < error(zero_filled(h, normal), x)
    # Without a denoiser it is the least-squares solution.
    plain = pnp_admm(h, normal, lambda image: image, gamma=0.05, iterations=60)
    assert error(normal(plain.x), h) < 0.02
