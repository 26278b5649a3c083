"""Recovery of linear models, dictionaries and reconstruction networks from incomplete samples."""

import itertools

import pytest
import torch

from incomplete_sensing.dictionary import learn_dictionary, matched_similarity, sparse_codes
from incomplete_sensing.generator import generate, initial_networks, reconstruct, relative_errors, train_networks
from incomplete_sensing.identifiability import consistent_set
from incomplete_sensing.solvers import (
    alternating_least_squares,
    closed_form,
    factor_update,
    nuclear_norm,
    signals_in_model,
)
from incomplete_sensing.variable_projection import variable_projection


def draw(trials=4, G=4, m=7, n=12, k=2, N=6, seed=0):
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    basis = torch.linalg.qr(normal(trials, n, k)).Q
    operators, codes = normal(trials, G, m, n), normal(trials, G, k, N)
    return operators, basis[:, None] @ codes, basis, normal(trials, 3, n, k)


def distance(projectors, basis):
    return (projectors - basis @ basis.mT).flatten(1).norm(dim=1) / (2 * basis.shape[2]) ** 0.5


# Closed form --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "k", "m"), [(12, 2, 3), (12, 2, 5), (9, 1, 2), (10, 4, 6), (8, 3, 8), (8, 3, 2)])
def test_closed_form_finds_the_consistent_set_of_every_number_of_operators(n, k, m):
    operators, signals, basis, _ = draw(3, 12, m, n, k)
    counts = [1, 2, 5, 12]
    found = closed_form(operators, operators @ signals, k, counts)
    for trial, (place, G) in itertools.product(range(3), enumerate(counts)):
        direct = consistent_set(list(operators[trial, :G].numpy()), basis[trial].numpy())
        assert found.dimensions[trial, place] == direct.dimension
        assert torch.trace(found.projectors[trial, place]) == pytest.approx(direct.dimension, abs=1e-8)
        assert (distance(found.projectors[:, place], basis)[trial] < 1e-6) == direct.identified


def test_closed_form_decides_masks_and_badly_conditioned_operators_by_singular_values():
    n, k = 10, 2
    _, _, basis, _ = draw(2, 1, 4, n, k)
    order = torch.stack([torch.randperm(n, generator=torch.Generator().manual_seed(s))[:5] for s in range(8)])
    masks = torch.eye(n, dtype=torch.float64)[order].expand(2, -1, -1, -1)
    # Two operators that differ by little identify the model, though their normal matrix hardly shows it.
    first, second = draw(2, 2, 6, n, k, seed=1)[0].unbind(1)
    near = torch.stack([first, first + 1e-6 * second], 1)
    for operators in (masks, near):
        samples = operators @ (basis[:, None] @ draw(2, operators.shape[1], 1, n, k)[1].new_ones(1).expand(2, 1, k, 1))
        codes = torch.randn(
            2, operators.shape[1], k, 6, generator=torch.Generator().manual_seed(3), dtype=torch.float64
        )
        samples = operators @ basis[:, None] @ codes
        found = closed_form(operators, samples, k)
        for trial in range(2):
            direct = consistent_set(list(operators[trial].numpy()), basis[trial].numpy())
            assert found.dimensions[trial, 0] == direct.dimension
    assert (found.dimensions == k).all()


def test_too_few_samples_of_an_operator_lose_the_model():
    operators, signals, basis, _ = draw(3, 6, 7, 12, 3, N=2)
    found = closed_form(operators, operators @ signals, 3)
    assert (found.dimensions[:, 0] < 3).all()
    assert (distance(found.projectors[:, 0], basis) > 0.1).all()


# Iterative solvers ------------------------------------------------------------------------------------------------


def test_alternating_least_squares_reaches_the_model_where_there_is_plenty():
    operators, signals, basis, starts = draw(m=10)
    found = alternating_least_squares(operators, operators @ signals, starts)
    assert (found.residual < 1e-9).all()
    assert (distance(found.projectors, basis) < 1e-6).all()


def test_alternating_least_squares_keeps_the_best_start_and_never_fits_worse_with_more():
    operators, signals, _, starts = draw(trials=6, m=5)
    samples = operators @ signals
    alone = [alternating_least_squares(operators, samples, starts[:, [r]], 40).residual for r in range(3)]
    together = alternating_least_squares(operators, samples, starts, 40).residual
    torch.testing.assert_close(together, torch.stack(alone).amin(0), rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize(("m", "G"), [(3, 18), (4, 9), (6, 5)])
def test_variable_projection_reaches_the_exact_threshold_where_alternating_does_not(m, G):
    """n = 20, k = 2: the first cell on or above G (m - k) = n - k, same starts for both."""
    operators, signals, basis, starts = draw(trials=8, G=G, m=m, n=20, k=2, N=10)
    samples = operators @ signals
    found = variable_projection(operators, samples, starts)
    assert (distance(found.projectors, basis) < 1e-3).double().mean() >= 0.8
    assert (found.residual < 1e-9).double().mean() >= 0.8
    alternating = alternating_least_squares(operators, samples, starts, 60)
    assert (distance(alternating.projectors, basis) < 1e-3).double().mean() <= 0.25


def test_variable_projection_below_the_threshold_fits_another_model():
    operators, signals, basis, starts = draw(trials=4, G=4, m=5, n=20, k=2)
    found = variable_projection(operators, operators @ signals, starts)
    assert (found.residual < 1e-6).all() and (distance(found.projectors, basis) > 0.1).all()
    few = variable_projection(operators[:, :, :2], (operators @ signals)[:, :, :2], starts)
    assert (few.residual < 1e-9).all() and (distance(few.projectors, basis) > 0.1).all()


def test_variable_projection_keeps_the_best_start_and_trials_do_not_depend_on_each_other():
    operators, signals, _, starts = draw(trials=6, m=5)
    samples = operators @ signals
    together = variable_projection(operators, samples, starts, 8, tolerance=0.0)
    alone = [variable_projection(operators, samples, starts[:, [r]], 8, tolerance=0.0).residual for r in range(3)]
    torch.testing.assert_close(together.residual, torch.stack(alone).amin(0), rtol=1e-5, atol=1e-12)
    part = variable_projection(operators[2:4], samples[2:4], starts[2:4], 8, tolerance=0.0)
    torch.testing.assert_close(part.residual, together.residual[2:4], rtol=1e-5, atol=1e-12)


def test_factor_update_solves_its_least_squares_problem():
    operators, signals, _, _ = draw(trials=2)
    samples = operators @ signals
    codes = torch.randn(2, 4, 3, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    normal = (operators.mT @ operators).flatten(2)
    target = (operators.mT @ samples @ codes.mT).sum(1)
    found = factor_update(normal, target, codes, torch.zeros(2, 12, 3, dtype=torch.float64), damping=1e-14)
    rows = torch.stack(
        [torch.cat([torch.kron(operators[t, g], codes[t, g].mT.contiguous()) for g in range(4)]) for t in range(2)]
    )
    expected = torch.linalg.lstsq(rows, samples.flatten(1)[..., None]).solution.reshape(2, 12, 3)
    torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-9)


def test_nuclear_norm_fits_the_samples_and_recovers_what_is_seen_well():
    operators, signals, basis, _ = draw(trials=3, m=11, N=10)
    found = nuclear_norm(operators, operators @ signals, iterations=500)
    torch.testing.assert_close(operators @ found.signals, operators @ signals, rtol=1e-8, atol=1e-8)
    assert ((found.signals - signals).flatten(1).norm(dim=1) < 1e-5 * signals.flatten(1).norm(dim=1)).all()
    assert (distance(found.projectors(2), basis) < 1e-5).all()
    largest = torch.linalg.matrix_norm(signals.transpose(1, 2).flatten(2), "nuc")
    assert (torch.linalg.matrix_norm(found.signals.transpose(1, 2).flatten(2), "nuc") <= largest * (1 + 1e-6)).all()


def test_signals_in_the_model_are_recovered_from_m_of_k_rows():
    operators, signals, basis, _ = draw(m=2, k=2)
    found = signals_in_model(operators, operators @ signals, basis @ basis.mT, 2)
    torch.testing.assert_close(found, signals, rtol=1e-6, atol=1e-6)


def test_trials_do_not_feel_the_rest_of_their_batch():
    operators, signals, _, starts = draw(trials=5)
    samples = operators @ signals
    together = alternating_least_squares(operators, samples, starts, 20).projectors
    norms = nuclear_norm(operators, samples, 30).signals
    for trial in range(5):
        part = slice(trial, trial + 1)
        alone = alternating_least_squares(operators[part], samples[part], starts[part], 20).projectors
        torch.testing.assert_close(together[part], alone, rtol=1e-6, atol=1e-8)
        torch.testing.assert_close(norms[part], nuclear_norm(operators[part], samples[part], 30).signals)


# Dictionary -------------------------------------------------------------------------------------------------------


def test_matching_pursuit_is_exact_for_one_nonzero_and_for_orthogonal_atoms():
    generator = torch.Generator().manual_seed(0)
    dictionary = torch.randn(2, 5, 9, generator=generator, dtype=torch.float64)
    codes = torch.zeros(2, 9, 20, dtype=torch.float64)
    codes.scatter_(1, torch.randint(9, (2, 1, 20), generator=generator), 2.5)
    torch.testing.assert_close(sparse_codes(dictionary, dictionary @ codes, 1), codes, rtol=1e-6, atol=1e-6)
    orthogonal = torch.linalg.qr(dictionary[:, :, :5]).Q
    dense = torch.randn(2, 5, 20, generator=generator, dtype=torch.float64)
    found = sparse_codes(orthogonal, orthogonal @ dense, 3)
    assert ((found != 0).sum(1) == 3).all()
    kept = dense.abs().topk(3, dim=1).indices
    torch.testing.assert_close(
        found, torch.zeros_like(dense).scatter(1, kept, dense.gather(1, kept)), rtol=1e-6, atol=1e-6
    )


def test_dictionary_is_learned_up_to_order_and_sign_from_incomplete_samples():
    generator = torch.Generator().manual_seed(0)
    atoms = torch.randn(2, 8, 10, generator=generator, dtype=torch.float64)
    atoms /= atoms.norm(dim=1, keepdim=True)
    operators = torch.randn(2, 10, 7, 8, generator=generator, dtype=torch.float64)
    codes = torch.zeros(2, 10, 10, 60, dtype=torch.float64)
    codes.scatter_(2, torch.randint(10, (2, 10, 1, 60), generator=generator), 1.0)
    start = torch.randn(2, 6, 8, 10, generator=generator, dtype=torch.float64)
    found = learn_dictionary(operators, operators @ (atoms[:, None] @ codes), 1, start)
    assert (found.residual < 1e-6).all()
    assert (matched_similarity(found.atoms, atoms) > 0.999).all()
    shuffled = -atoms[:, :, torch.randperm(10, generator=generator)]
    torch.testing.assert_close(matched_similarity(shuffled, atoms), torch.ones(2, dtype=torch.float64))


# Small generator ----------------------------------------------------------------------------------------------------


def networks_of(trials, n=8):
    drawn = [initial_networks(torch.Generator().manual_seed(trial), n, 24) for trial in range(trials)]
    return [torch.stack(tensors) for tensors in zip(*drawn, strict=True)]


def test_only_the_cross_operator_loss_learns_what_an_operator_does_not_see():
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(2, 6, 1, generator=generator), torch.randn(2, 8, 6, generator=generator)
    signals = generate(weights, torch.randn(2, 800, 1, generator=generator)).reshape(2, 8, 100, 8)
    assert signals.square().mean((1, 2, 3)).allclose(torch.ones(2))
    operators = torch.randn(2, 8, 5, 8, generator=generator)
    errors = {
        method: relative_errors(
            operators, signals, train_networks(operators, signals, networks_of(2), method, steps=400)
        )
        for method in ("mc", "moi", "supervised")
    }
    assert (errors["mc"] > 0.3).all()
    assert (errors["moi"] < 0.75 * errors["mc"]).all()
    assert (errors["supervised"] < errors["moi"]).all()


def test_rows_of_zeros_change_nothing_and_one_operator_is_plain_consistency():
    generator = torch.Generator().manual_seed(0)
    signals, operators = torch.randn(1, 2, 40, 8, generator=generator), torch.randn(1, 2, 3, 8, generator=generator)
    padded = torch.nn.functional.pad(operators, (0, 0, 0, 2))
    plain, wide = (train_networks(a, signals, networks_of(1), "moi", steps=5) for a in (operators, padded))
    for one, other in zip(plain, wide, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    alone = operators[:, :1], signals[:, :1]
    for one, other in zip(
        *(train_networks(*alone, networks_of(1), method, 5) for method in ("mc", "moi")), strict=True
    ):
        assert torch.equal(one, other)
    assert reconstruct(networks_of(1), signals[:, 0]).shape == (1, 40, 8)
    with pytest.raises(ValueError, match="unknown method"):
        train_networks(operators, signals, networks_of(1), "ei")
