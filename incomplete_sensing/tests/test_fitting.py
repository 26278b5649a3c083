"""Fits from incomplete measurements, and the networks that start from them."""

import math

import pytest
import torch

from incomplete_sensing import mixture
from incomplete_sensing.fitting import by_operator, fit
from incomplete_sensing.mixture import Mixture, Seen
from incomplete_sensing.models import ConsistentNetwork, MixtureMean
from incomplete_sensing.objective import Objective
from incomplete_sensing.operators import DenseOperators, MaskOperators
from incomplete_sensing.reconstructor import Reconstructor
from shared_utils import UserError


@pytest.fixture(scope="module")
def model():
    """Two well separated Gaussians in R^6, weights .7 and .3."""
    torch.manual_seed(0)
    factors = 0.3 * torch.randn(2, 6, 6, dtype=torch.float64)
    means = torch.randn(2, 6, dtype=torch.float64) * 3
    return Mixture(torch.tensor([0.7, 0.3]).double(), means, factors @ factors.mT, 1e-3)


@pytest.fixture(scope="module")
def data(model):
    """4000 signals of it through five operators of four rows: (signals, measurements by operator)."""
    torch.manual_seed(1)
    component = (torch.rand(4000) > model.weights[0]).long()
    factors = torch.linalg.cholesky(model.covariances)
    signals = model.means[component] + (factors[component] @ torch.randn(4000, 6, 1, dtype=torch.float64))[:, :, 0]
    matrices = torch.randn(5, 4, 6, dtype=torch.float64)
    parts = [Seen(matrix, signals[g::5] @ matrix.mT) for g, matrix in enumerate(matrices)]
    return signals, parts


def test_mean_comes_from_operators_that_see_everything_together(data):
    signals, parts = data
    assert torch.allclose(mixture.fit_mean(parts), signals.mean(0), atol=0.1)
    # Of one operator alone, what it does not see is zero.
    seen = torch.linalg.pinv(parts[0].matrix) @ parts[0].matrix
    mean = mixture.fit_mean(parts[:1])
    assert torch.allclose(seen @ mean, mean, atol=1e-8)


def test_em_raises_the_likelihood_and_finds_the_covariance(data):
    signals, parts = data
    complete = mixture.complete_gaussian(signals, 1e-3)
    few, many = (mixture.fit_gaussian(parts, iterations=count) for count in (3, 60))
    assert mixture.log_likelihood(few, parts) < mixture.log_likelihood(many, parts)
    error = (many.covariances - complete.covariances).norm() / complete.covariances.norm()
    assert error < 0.1


def test_pooled_fits_have_the_mean_of_their_densities(model, data):
    _, parts = data
    gaussian = mixture.fit_gaussian(parts, iterations=10)
    fits = [mixture.fit_mixture(parts, gaussian, 2, strength=30.0, iterations=count) for count in (1, 5)]
    pooled = mixture.posterior(mixture.pool(fits), parts[0])
    each = torch.stack([mixture.posterior(one, parts[0]).log_density.exp() for one in fits])
    assert torch.allclose(pooled.log_density.exp(), each.mean(0), rtol=1e-9)
    # The posterior mean is each fit's, by how likely that fit finds y.
    means = torch.stack([mixture.posterior_mean(one, parts[0]) for one in fits])
    shares = (each / each.sum(0))[:, :, None]
    assert torch.allclose(mixture.posterior_mean(mixture.pool(fits), parts[0]), (shares * means).sum(0), atol=1e-9)


def test_fits_share_the_components_of_a_network(data):
    operators = DenseOperators(torch.stack([part.matrix for part in data[1]]).float(), (1, 2, 3))
    y = torch.cat([part.values for part in data[1]]).float()
    g = torch.arange(5).repeat_interleave(800)
    options = {"truth": None, "strength": 30.0, "rank": None, "iterations": 2, "seed": 0}
    network = MixtureMean(6, 4)
    fit(network, "mixture", operators, y, g, pooled=2, **options)
    alone = MixtureMean(6, 2)
    fit(alone, "mixture", operators, y, g, **options)
    assert torch.allclose(network.means[:2], alone.means, atol=1e-5)
    assert torch.allclose(network.weights[:2].sum(), torch.tensor(0.5))
    with pytest.raises(UserError, match="4 components cannot be shared by 3 fits"):
        fit(network, "mixture", operators, y, g, pooled=3, **options)


@pytest.fixture(scope="module")
def fields():
    """60 images of two channels, 5 x 6, of a stationary random field, half of their pixels hidden: (signals, parts)."""
    noise = torch.randn(60, 2, 7, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(6))
    smooth = sum(noise[..., i : i + 5, j : j + 6] for i in range(3) for j in range(3))
    smooth[:, 1] += 0.5 * smooth[:, 0]
    signals = 0.1 * smooth + torch.tensor([0.3, 0.6]).double()[:, None, None]
    generator = torch.Generator().manual_seed(7)
    kept = [torch.randperm(60, generator=generator)[:30].sort().values for _ in range(4)]
    rows = torch.eye(60, dtype=torch.float64)
    return signals, [Seen(rows[some], signals[g::4].flatten(1)[:, some]) for g, some in enumerate(kept)]


def test_stationary_covariance_is_one_of_displacements_and_does_better_on_few_images(fields):
    signals, parts = fields
    found = mixture.fit_stationary(parts, (2, 5, 6))
    mean = found.means.reshape(2, 30)
    assert torch.equal(mean, mean[:, :1].expand(2, 30))
    assert torch.allclose(mean[:, 0], signals.mean((0, 2, 3)), atol=0.05)
    covariance = found.covariances[0].reshape(2, 5, 6, 2, 5, 6)
    for own, other in ((0, 0), (0, 1), (1, 0), (1, 1)):
        for row, column in ((0, 1), (2, 0), (1, 3)):
            same = torch.stack(
                [covariance[own, i, j, other, i + row, j + column] for i in range(5 - row) for j in range(6 - column)]
            )
            assert torch.allclose(same, same.mean().expand_as(same), atol=0.02)
    assert float(torch.linalg.eigvalsh(found.covariances[0]).min()) > -1e-9
    # Neighbours go together, across the channels too.
    assert covariance[0, 2, 2, 0, 2, 3] > 0.4 * covariance[0, 2, 2, 0, 2, 2] > 0
    assert covariance[0, 2, 2, 1, 2, 2] > 0.3 * covariance[0, 2, 2, 0, 2, 2]
    errors = []
    for fitted in (found, mixture.fit_gaussian(parts)):
        images = torch.cat([mixture.posterior_mean(fitted, part) for part in parts])
        truth = torch.cat([signals[g::4].flatten(1) for g in range(4)])
        errors.append(float((images - truth).square().mean()))
    assert errors[0] < 0.8 * errors[1]


def test_a_stationary_start_is_the_stationary_fit_and_has_one_component():
    operators = MaskOperators(
        (torch.rand(3, 1, 4, 4, generator=torch.Generator().manual_seed(0)) > 0.4).float(), (1, 4, 4)
    )
    g = torch.arange(60) % 3
    y = operators(torch.rand(60, 1, 4, 4, generator=torch.Generator().manual_seed(1)), g)
    options = {"truth": None, "strength": 30.0, "rank": None, "iterations": 2, "seed": 0}
    fitted, learner, plain = MixtureMean(16), ConsistentNetwork(16, image_size=(4, 4)), MixtureMean(16)
    fit(fitted, "stationary", operators, y, g, **options)
    fit(learner, "splitmoi", operators, y, g, stationary=True, **options)
    fit(plain, "gaussian", operators, y, g, stationary=True, **options)
    assert torch.equal(fitted.covariances, learner.covariances)
    assert not torch.allclose(fitted.covariances, plain.covariances, atol=1e-3)
    with pytest.raises(UserError, match="one component, not 2"):
        fit(MixtureMean(16, 2), "splitmoi", operators, y, g, stationary=True, **options)


def test_one_iteration_on_complete_signals_is_their_mean_and_covariance(data):
    """From a wrong mean: the covariance is about the new one."""
    signals, _ = data
    identity = torch.eye(6, dtype=torch.float64)
    start = Mixture(identity[0, :1], torch.full((1, 6), 5.0).double(), identity[None], 1e-9)
    found = mixture.maximise(start, [Seen(identity, signals)])
    expected = mixture.complete_gaussian(signals, 1e-9)
    assert torch.allclose(found.means, expected.means, atol=1e-4)
    assert torch.allclose(found.covariances, expected.covariances, atol=1e-4)


def test_mixture_finds_the_components(model, data):
    _, parts = data
    gaussian = mixture.fit_gaussian(parts)
    found = mixture.fit_mixture(parts, gaussian, components=2, strength=0.0)
    order = found.weights.argsort(descending=True)
    assert torch.allclose(found.weights[order], model.weights, atol=0.03)
    assert torch.allclose(found.means[order], model.means, atol=0.2)
    assert mixture.log_likelihood(found, parts) > mixture.log_likelihood(gaussian, parts) + 0.3


def test_strength_gives_all_components_the_pooled_covariance(data):
    _, parts = data
    gaussian = mixture.fit_gaussian(parts, iterations=5)
    found = mixture.fit_mixture(parts, gaussian, components=2, strength=1e9, iterations=2)
    assert torch.allclose(found.covariances[0], found.covariances[1], rtol=1e-4)


def test_low_rank_covariances_have_one_variance_in_all_other_directions(data):
    _, parts = data
    found = mixture.fit_mixture(parts, mixture.fit_gaussian(parts), components=2, rank=2, iterations=3)
    values = torch.linalg.eigvalsh(found.covariances)
    assert torch.allclose(values[:, :4], values[:, :1].expand(-1, 4))
    assert bool((values[:, 4] > 1.01 * values[:, 3]).all())


def _network(model, kind=MixtureMean, **options):
    network = kind(dim_input=6, components=2, **options)
    network.start_from(model)
    return network.eval()


def test_network_is_the_posterior_mean_and_its_density(model, data):
    signals, parts = data
    operators = DenseOperators(torch.stack([part.matrix for part in parts]), (1, 2, 3))
    network = _network(model)
    g = torch.arange(40) % 5
    y = operators(signals[:40].float().reshape(-1, 1, 2, 3), g)
    images = network(y, operators, g)
    for operator, part in enumerate(parts):
        own = Seen(part.matrix, y[g == operator].double())
        expected = mixture.posterior_mean(model, own)
        assert torch.allclose(images[g == operator].flatten(1).double(), expected, atol=2e-3)
        density = network.log_density(y, operators, g)[g == operator].double()
        assert torch.allclose(density, mixture.posterior(model, own).log_density, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("kind", [MixtureMean, ConsistentNetwork])
def test_rows_that_are_not_given_are_as_if_never_measured(model, kind):
    torch.manual_seed(2)
    matrix = torch.randn(1, 4, 6)
    whole, part = DenseOperators(matrix, (1, 2, 3)), DenseOperators(matrix[:, [0, 2]], (1, 2, 3))
    options = {} if kind is MixtureMean else {"image_size": (2, 3)}
    network = _network(model, kind, **options)
    for step in getattr(network, "networks", []):
        torch.nn.init.normal_(step.layers[-1].weight, std=0.1)
    y = torch.randn(3, 4)
    given = torch.tensor([1.0, 0, 1, 0]).expand(3, 4)
    g = torch.zeros(3, dtype=torch.long)
    assert torch.allclose(network(y, whole, g, given), network(y[:, [0, 2]], part, g), atol=1e-4)
    assert torch.equal(network(y, whole, g, given), network(y + 5 * (1 - given), whole, g, given))


def test_masks_are_solved_on_what_they_keep(model):
    masks = torch.tensor([[[1.0, 0, 1], [1, 1, 0]], [[0, 1, 0], [1, 0, 0]]])
    operators = MaskOperators(masks, (1, 2, 3))
    rows = operators.observed_rows
    assert rows.matrices.shape == (2, 4, 6)  # the second keeps two: the others are zero rows
    assert rows.observed.tolist() == [[1, 1, 1, 1], [1, 1, 0, 0]]
    x = torch.randn(2, 1, 2, 3)
    g = torch.tensor([0, 1])
    y = operators(x, g)
    assert torch.equal(rows.apply(x.flatten(1), g), rows.take(y, g))
    images = _network(model)(y, operators, g)
    assert torch.allclose(operators(images, g), y, atol=0.05)


def test_consistent_network_starts_from_the_mixture_and_stays_consistent(model):
    torch.manual_seed(3)
    operators = DenseOperators(torch.randn(2, 4, 6), (1, 2, 3))
    network = _network(model, ConsistentNetwork, image_size=(2, 3))
    g = torch.tensor([0, 1, 1, 0])
    y = operators(model.means[g].float().reshape(4, 1, 2, 3), g)
    start = _network(model)(y, operators, g)
    assert torch.allclose(network(y, operators, g), start, atol=2e-2)
    for step in network.networks:
        torch.nn.init.normal_(step.layers[-1].bias)
    images = network(y, operators, g)
    assert (images - start).abs().max() > 0.1
    assert torch.allclose(operators(images, g), y, atol=5e-2)


def test_learned_metric_learns_its_mean_and_factor():
    torch.manual_seed(4)
    operators = DenseOperators(torch.randn(3, 4, 6), (1, 2, 3))
    f = Reconstructor.of(operators, {"name": "consistent", "learned": True})
    g = torch.arange(30) % 3
    y = operators(torch.rand(30, 1, 2, 3), g)
    terms = Objective("splitmoi")(f, operators, y, g)
    assert set(terms) == {"loss", "splitting", "cross"}
    terms["loss"].backward()
    assert f.network.mean.grad.abs().max() > 0 and f.network.factor.grad.abs().max() > 0


def test_left_out_rows_decide_the_loss():
    """The target is what f was not given: the truth has no loss, a copy of what was given has one."""
    torch.manual_seed(5)
    operators = MaskOperators(torch.ones(2, 3, 4), (1, 3, 4))
    x, g = torch.rand(8, 1, 3, 4) + 1, torch.arange(8) % 2
    perfect = Objective("splitmoi")(lambda y, g, given: x, operators, operators(x, g), g)
    assert perfect["splitting"] == 0 and perfect["cross"] == 0
    copied = Objective("splitmoi")(lambda y, g, given: y * given, operators, operators(x, g), g)
    assert copied["splitting"] > 1


@pytest.mark.parametrize("per, patterns", [("operator", 2), ("sample", 60)])
def test_splits_take_shares_from_a_range(per, patterns):
    from incomplete_sensing.losses import draw_splits

    operators = DenseOperators(torch.randn(2, 300, 400), (1, 20, 20))
    g = torch.arange(60) % 2
    given = draw_splits(operators, g, (0.5, 0.9), torch.Generator().manual_seed(0), per)
    assert len(given.unique(dim=0)) == patterns
    shares = given.mean(1)
    assert shares.min() > 0.4 and shares.max() < 0.97
    assert shares.max() - shares.min() > (0.2 if per == "sample" else 0)


def test_linear_needs_the_truth_and_others_do_not_take_it():
    operators = DenseOperators(torch.randn(2, 4, 6), (1, 2, 3))
    g = torch.arange(20) % 2
    x = torch.randn(20, 1, 2, 3)
    common = (operators, operators(x, g), g)
    with pytest.raises(UserError, match="linear needs the truth"):
        fit(MixtureMean(6), "linear", *common, None, 30.0, None, 10, 0)
    network = MixtureMean(6)
    fit(network, "linear", *common, x, 30.0, None, 10, 0)
    assert torch.allclose(network.means[0], x.flatten(1).mean(0), atol=1e-5)
    density = network.log_density(operators(x, g), operators, g)
    assert math.isfinite(float(density.mean()))
    assert sum(len(part.values) for part in by_operator(*common)) == 20


def test_images_too_large_for_a_covariance_are_refused():
    with pytest.raises(UserError, match="too large"):
        MixtureMean(dim_input=128 * 128)
    with pytest.raises(UserError, match="one component"):
        ConsistentNetwork(6, components=2, learned=True)


def test_directions_that_no_operator_sees_keep_the_start(data):
    """One operator: the fits stay finite, and what they add to A^+ y there is zero."""
    _, parts = data
    matrix = parts[0].matrix
    hidden = torch.eye(6, dtype=torch.float64) - torch.linalg.pinv(matrix) @ matrix
    gaussian = mixture.fit_gaussian(parts[:1], iterations=10)
    found = mixture.fit_mixture(parts[:1], gaussian, components=3, iterations=5)
    for fitted in (gaussian, found):
        means = mixture.posterior_mean(fitted, parts[0])
        assert bool(means.isfinite().all()) and float((means @ hidden).abs().max()) < 1e-6
