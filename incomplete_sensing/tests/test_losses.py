import pytest
import torch

from incomplete_sensing.losses import (
    cross_operator,
    draw_cross_operators,
    draw_splits,
    equivariance,
    measurement_consistency,
    splitting,
)
from incomplete_sensing.models import MLP
from incomplete_sensing.noise import Noise
from incomplete_sensing.objective import Objective
from incomplete_sensing.operators import MaskOperators, OperatorOptions, draw_operators
from incomplete_sensing.sure import sure_gaussian, sure_poisson, sure_poisson_gaussian, sure_poisson_gaussian_rei
from incomplete_sensing.transforms import Shift
from shared_utils import UserError


@pytest.fixture
def sensing():
    """(operators, network, f, y, g) of a small compressed-sensing problem with mixed batches."""
    torch.manual_seed(0)
    operators = draw_operators(OperatorOptions("gaussian", 4, 7), (1, 4, 4))
    network = MLP(16, (12,))
    g = torch.tensor([0, 3, 1, 2, 0, 1])
    y = operators(torch.rand(6, 1, 4, 4), g)
    return operators, network, lambda y, g: network(operators.pinv(y, g)), y, g


# The cross operators -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("per", ["sample", "batch"])
def test_the_other_operator_is_never_the_own_one_and_uniform(per):
    generator = torch.Generator().manual_seed(0)
    g = torch.arange(5).repeat(40)
    counts = torch.zeros(5, 5)
    for _ in range(200):
        j = draw_cross_operators(g, 5, per, generator=generator)
        assert not (j == g).any()
        counts[g, j] += 1
        for row in range(5):
            counts[row] += torch.bincount(j[g == row], minlength=5).float() - (g == row).sum() * 0
    own = counts / counts.sum(1, keepdim=True)
    assert torch.allclose(own[~torch.eye(5, dtype=torch.bool)], torch.tensor(0.25), atol=0.08)


def test_one_draw_a_sample_uses_every_operator_and_one_a_batch_a_single_one():
    generator = torch.Generator().manual_seed(0)
    g = torch.zeros(300, dtype=torch.long)
    assert set(draw_cross_operators(g, 6, generator=generator).tolist()) == {1, 2, 3, 4, 5}
    assert len(set(draw_cross_operators(g, 6, "batch", generator=generator).tolist())) == 1


def test_deepinvs_draw_includes_the_own_operator():
    j = draw_cross_operators(torch.zeros(300, dtype=torch.long), 3, exclude_self=False)
    assert set(j.tolist()) == {0, 1, 2}


def test_there_is_no_other_of_one_operator():
    with pytest.raises(UserError, match="G >= 2"):
        draw_cross_operators(torch.zeros(3, dtype=torch.long), 1)


def test_gradient_of_the_cross_term_reaches_the_first_pass(sensing):
    operators, network, f, y, g = sensing
    j = (g + 1) % 4
    parameters = list(network.parameters())
    x1 = f(y, g)
    through = torch.autograd.grad(cross_operator(x1, f, operators, j), parameters, retain_graph=True)
    detached = torch.autograd.grad(cross_operator(x1.detach(), f, operators, j), parameters)
    assert all((a - b).norm() > 1e-3 * a.norm() for a, b in zip(through, detached, strict=True))


def test_cross_term_of_a_mixed_batch_is_the_mean_of_the_single_ones(sensing):
    operators, _, f, y, g = sensing
    j = (g + 2) % 4
    x1 = f(y, g)
    singles = [cross_operator(x1[i : i + 1], f, operators, int(j[i])) for i in range(len(g))]
    assert torch.allclose(cross_operator(x1, f, operators, j), torch.stack(singles).mean(), rtol=1e-5)


def test_a_constant_network_has_no_cross_term_but_does_not_explain_the_measurements(sensing):
    operators, _, _, y, g = sensing
    constant = torch.ones(6, 1, 4, 4)
    assert cross_operator(constant, lambda y, g: constant, operators, g) == 0
    assert measurement_consistency(constant, y, operators, g) > 0.01


# Means ---------------------------------------------------------------------------------------------------------------


def test_consistency_over_observed_entries_does_not_count_the_zeros():
    mask = torch.zeros(1, 4, 4)
    mask[0, :2] = 1
    operators = MaskOperators(mask, (3, 4, 4))
    x = torch.full((2, 3, 4, 4), 0.5)
    y = torch.zeros(2, 3, 4, 4)
    assert measurement_consistency(x, y, operators, 0) == pytest.approx(0.125)
    assert measurement_consistency(x, y, operators, 0, normalise="observed") == pytest.approx(0.25)


def test_pseudo_inverse_is_measurement_consistent(sensing):
    operators, _, _, y, g = sensing
    assert measurement_consistency(operators.pinv(y, g), y, operators, g) < 1e-10


def test_equivariance_of_an_equivariant_reconstruction_vanishes():
    operators = MaskOperators(torch.ones(1, 4, 4), (1, 4, 4))
    x = torch.rand(2, 1, 4, 4)
    transformed = Shift().apply(x, [(1, 2), (0, 3)])
    assert equivariance(transformed, lambda y, g: y, operators, torch.zeros(2, dtype=torch.long)) == 0
    assert equivariance(transformed, lambda y, g: y * 0.9, operators, 0) > 0


def test_splits_are_observed_entries_shared_by_the_channels():
    operators = draw_operators(OperatorOptions("mri", 3, acceleration=2, centre_fraction=0.2), (2, 10, 15))
    g = torch.tensor([0, 1, 2, 0])
    given = draw_splits(operators, g, 0.7, torch.Generator().manual_seed(0))
    observed = operators.observed(g)
    assert given.shape == (4, 1, 10, 15)
    assert not (given * (1 - observed)).any()
    assert float(given.sum() / observed.expand(4, 1, 10, 15).sum()) == pytest.approx(0.7, abs=0.05)


def test_splitting_loss_looks_at_the_held_out_entries_only():
    operators = MaskOperators(torch.ones(1, 2, 2), (1, 2, 2))
    target = torch.tensor([[[[0.0, 0.0], [0.0, 1.0]]]])
    x, y = torch.tensor([[[[9.0, 9.0], [9.0, 3.0]]]]), torch.ones(1, 1, 2, 2)
    assert splitting(x, y, operators, 0, target, normalise=False) == 1
    assert splitting(x, y, operators, 0, target) == 4


# Risk estimates ------------------------------------------------------------------------------------------------------


def _risk(estimator, noise, scale, draws=40_000):
    """(mean of the estimate, the true risk and the standard error of their difference), f = scale * y, one operator."""
    torch.manual_seed(0)
    operators = MaskOperators(torch.tensor([[[1.0, 1.0], [1.0, 0.0]]]), (1, 2, 2))
    clean = operators(torch.tensor([[[[0.5, 0.8], [0.3, 0.9]]]]), 0).expand(draws, -1, -1, -1)
    y = noise(clean, operators.observed(0))
    estimate = estimator(scale * y, y, lambda y, g: scale * y, operators, 0).loss
    risk = ((scale * y - clean).square() * operators.observed(0)).flatten(1).sum(1) / 3
    difference = estimate - risk
    return float(difference.mean()), float(difference.std() / draws**0.5)


@pytest.mark.parametrize(
    ("estimator", "noise"),
    [
        (lambda *a: sure_gaussian(*a, 0.3), Noise(sigma=0.3)),
        (lambda *a: sure_poisson(*a, 0.2), Noise(gain=0.2)),
        (lambda *a: sure_poisson_gaussian(*a, 0.3, 0.2), Noise(sigma=0.3, gain=0.2)),
    ],
    ids=["gaussian", "poisson", "mixed"],
)
def test_risk_estimates_are_unbiased(estimator, noise):
    error, standard_error = _risk(estimator, noise, 0.7)
    assert standard_error < 0.01
    assert abs(error) < 4 * standard_error


def test_reis_mixed_loss_differs_from_the_risk_by_a_constant_of_the_network():
    def estimator(*a):
        return sure_poisson_gaussian_rei(*a, sigma=0.3, gain=0.2, tau=0.01, num_measurements=3)

    first, error = _risk(estimator, Noise(sigma=0.3, gain=0.2), 0.7)
    second, _ = _risk(estimator, Noise(sigma=0.3, gain=0.2), 0.2)
    assert abs(first - second) < 5 * error
    assert first == pytest.approx(0.2 * 1.6 / 3, abs=5 * error)  # gain times the mean clean measurement


# Methods -------------------------------------------------------------------------------------------------------------


def test_total_is_the_weighted_sum(sensing):
    operators, _, f, y, g = sensing
    terms = Objective("moi", cross_weight=3.0, consistency_weight=2.0)(f, operators, y, g)
    assert torch.allclose(terms["loss"], 2 * terms["consistency"] + 3 * terms["cross"])
    terms = Objective("ei", equivariance_weight=10.0, num_transforms=2)(f, operators, y, g)
    assert torch.allclose(terms["loss"], terms["consistency"] + 10 * terms["equivariance"])


def test_moi_with_one_operator_is_mc():
    operators = draw_operators(OperatorOptions("gaussian", 1, 7), (1, 4, 4))
    y, g = torch.rand(3, 7), torch.zeros(3, dtype=torch.long)

    def f(y, g):
        return operators.adjoint(y, g)

    assert Objective("moi")(f, operators, y, g) == Objective("mc")(f, operators, y, g)


def test_declared_noise_replaces_consistency_by_its_risk_estimate(sensing):
    operators, _, f, y, g = sensing
    torch.manual_seed(1)
    noisy = Objective("mc", noise=Noise(sigma=0.2))(f, operators, y, g)["loss"]
    torch.manual_seed(1)
    assert torch.equal(noisy, sure_gaussian(f(y, g), y, f, operators, g, 0.2).loss.mean())


def test_detached_transforms_stop_the_gradient_of_the_first_pass(sensing):
    operators, network, f, y, g = sensing
    gradients = []
    for detach in (False, True):
        torch.manual_seed(2)
        terms = Objective("ei", detach=detach)(f, operators, y, g)
        gradients.append(torch.autograd.grad(terms["equivariance"], network.layers[0].weight)[0])
    assert not torch.allclose(*gradients)


@pytest.mark.parametrize("method", ["mc", "moi", "ei", "moei", "split"])
def test_self_supervised_methods_refuse_the_truth(sensing, method):
    operators, _, f, y, g = sensing
    with pytest.raises(UserError, match="takes no truth"):
        Objective(method)(f, operators, y, g, torch.rand(6, 1, 4, 4))


def test_supervised_needs_the_truth(sensing):
    operators, _, f, y, g = sensing
    with pytest.raises(UserError, match="needs the truth"):
        Objective("sup")(f, operators, y, g)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "magic"}, "unknown method 'magic'; known: mc"),
        ({"method": "moi", "consistency_weight": 0}, "a constant network is optimal"),
        ({"method": "moi", "cross_weight": -1}, "not negative"),
        ({"method": "split", "split_share": 1.0}, "between 0 and 1"),
        ({"method": "ei", "num_transforms": 0}, "at least 1"),
        ({"method": "ei", "transform": "zoom"}, "unknown transform"),
    ],
)
def test_what_cannot_be_is_said(options, message):
    with pytest.raises(UserError, match=message):
        Objective(**options)
