"""What an unrolled network does with the measurements, and the encoder that knows the dictionary."""

import pytest
import torch

from mrf_unroll.dictionary import Dictionary, log_grid
from mrf_unroll.fitting import fit_head
from mrf_unroll.losses import ProxNetLoss, map_loss, masked_map_loss
from mrf_unroll.models import BlochDecoder, DictionaryEncoder, Iterates, MRFResNet, UnrolledNetwork
from mrf_unroll.models.consistency import ConjugateGradients
from mrf_unroll.program import write_program
from mrf_unroll.reconstructor import Reconstructor
from mrf_unroll.schedules import read_schedule
from shared_utils import UserError

# A well-conditioned positive matrix over the 3 x 4 x 5 entries of an item.
_FACTOR = torch.randn(60, 60, dtype=torch.complex128, generator=torch.Generator().manual_seed(0)) / 8
MATRIX = _FACTOR.mH @ _FACTOR
NORM = float(torch.linalg.matrix_norm(MATRIX, 2))


def _normal(x):
    matrix = MATRIX if x.is_complex() else MATRIX.real
    return (x.flatten(1) @ matrix.to(x.dtype).T).reshape(x.shape)


def _network(complex_valued=False, iterations=3, head_hidden=8, passes=1):
    torch.manual_seed(1)
    encoder = DictionaryEncoder(6 if complex_valued else 3, hidden=6, blocks=1, head_hidden=head_hidden, passes=passes)
    for denoiser in encoder.denoisers:
        torch.nn.init.normal_(denoiser.out.weight, std=0.05)
    network = UnrolledNetwork(
        encoder, BlochDecoder(3, 8), iterations, "penalty", 0.0, complex_valued=complex_valued, consistency="cg"
    )
    network.decoder.scale.fill_(2.0)
    return network


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_conjugate_gradients_solve_the_penalised_normal_equations(dtype):
    torch.manual_seed(0)
    h, x = torch.randn(2, 2, 3, 4, 5, dtype=dtype)
    h = _normal(h)
    for penalty in (0.1 * NORM, 0.7 * NORM):
        g = ConjugateGradients(iterations=60)(x, h, _normal, torch.tensor(penalty, dtype=torch.float64))
        torch.testing.assert_close(_normal(g) + penalty * g, h + penalty * x, rtol=1e-7, atol=1e-9)
    start = ConjugateGradients(start_iterations=200, start_penalty=0.01).first(h, _normal, torch.tensor(9.0), NORM)
    torch.testing.assert_close(_normal(start) + 0.01 * NORM * start, h, rtol=1e-6, atol=1e-8)


def test_on_another_trajectory_the_normal_equations_are_solved_further():
    network = Reconstructor(
        {"name": "dictionary", "hidden": 4, "blocks": 1, "head_hidden": 4},
        rank=3,
        decoder_hidden=8,
        iterations=2,
        consistency="cg",
        step_rule="penalty",
        cg_iterations=1,
    ).eval()
    with torch.no_grad():
        network.network.alpha.fill_(-4.0)
    network.network.consistency.start_iterations = 2
    truth = torch.randn(1, 3, 4, 5, generator=torch.Generator().manual_seed(3))
    h = _normal(truth)
    # The untrained denoiser changes nothing, so the series is what conjugate gradients find.
    near = [network.reconstruct(h, _normal, NORM, trained_trajectory=same)[1] for same in (True, False)]
    left = [float((_normal(x) - h).norm() / h.norm()) for x in near]
    assert left[1] < 0.5 * left[0], left
    assert network.network.consistency.iterations == 1


def test_a_network_with_conjugate_gradients_follows_its_recursion():
    h = _normal(torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(3)))
    network = _network()
    found = network(h, _normal, NORM)
    penalties = network.steps(NORM)
    torch.testing.assert_close(penalties, torch.full((3,), float(torch.tensor(2.0).log()) * NORM))
    for t in (1, 2):
        g = network.consistency(found.tsmi[t - 1], h, _normal, penalties[t])
        torch.testing.assert_close(found.inputs[t], g)
    series = network.encoder.series(found.inputs[2] / 2)
    torch.testing.assert_close(found.tsmi[2], 2 * series)
    torch.testing.assert_close(found.maps[2], network.encoder.head(series))


def test_every_pass_may_have_a_denoiser_of_its_own():
    h = _normal(torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(3)))
    network = _network(passes=3)
    found = network(h, _normal, NORM)
    for t in range(3):
        torch.testing.assert_close(found.tsmi[t], 2 * network.encoder.denoisers[t](found.inputs[t] / 2))
    for denoiser in network.encoder.denoisers[1:]:
        denoiser.load_state_dict(network.encoder.denoisers[0].state_dict())
    shared = _network()
    shared.encoder.denoisers[0].load_state_dict(network.encoder.denoisers[0].state_dict())
    shared.encoder.head.load_state_dict(network.encoder.head.state_dict())
    torch.testing.assert_close(shared(h, _normal, NORM).maps[-1], network(h, _normal, NORM).maps[-1])
    with pytest.raises(UserError, match="an encoder of 3 passes is not for 2 iterations: give 1, or as many"):
        _network(iterations=2, passes=3)


def test_the_program_of_a_network_knows_its_passes(tmp_path):
    options = {"rank": 3, "decoder_hidden": 8, "iterations": 3, "consistency": "cg", "step_rule": "penalty"}
    encoder = {"name": "dictionary", "hidden": 6, "blocks": 1, "passes": 3}
    torch.manual_seed(0)
    network = Reconstructor(encoder, **options, image_size=[8, 10], symmetric=True)
    for denoiser in network.network.encoder.denoisers:
        torch.nn.init.normal_(denoiser.out.weight, std=0.05)
    write_program(network, tmp_path / "network.pt2")
    step = torch.export.load(tmp_path / "network.pt2").module()
    g = torch.randn(1, 3, 8, 10, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        maps = [step(g, torch.tensor(t))[0] for t in range(3)]
        for t in range(3):
            torch.testing.assert_close(maps[t], network.network.encode(g, t)[0], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(maps[0], maps[2], rtol=1e-2)


def test_the_penalties_take_gradients_through_the_solver():
    h = _normal(torch.randn(1, 3, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(3)))
    x = torch.randn(1, 3, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(4)).requires_grad_()
    penalty = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    solver = ConjugateGradients(iterations=3)
    assert torch.autograd.gradcheck(lambda one, other: solver(one, h, _normal, other), (x, penalty))


def test_scaled_measurements_scale_proton_density_alone():
    h = _normal(torch.randn(1, 3, 4, 5, generator=torch.Generator().manual_seed(3)))
    network = _network()
    one, other = (network(scale * h, _normal, NORM) for scale in (1.0, 1e3))
    torch.testing.assert_close(other.maps[-1][:, :2], one.maps[-1][:, :2], rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(other.maps[-1][:, 2], 1e3 * one.maps[-1][:, 2], rtol=1e-3, atol=1e-3)


def test_a_reconstructors_gain_is_taken_out_of_maps_and_series():
    network = Reconstructor({"name": "resnet", "hidden": 4}, rank=3, decoder_hidden=8, iterations=2)
    h = _normal(torch.randn(1, 3, 4, 5, generator=torch.Generator().manual_seed(3)))
    maps, series = network.reconstruct(h, _normal, NORM)
    loud_maps, loud_series = network.reconstruct(250 * h, _normal, NORM, gain=250.0)
    torch.testing.assert_close(loud_maps[:, :2], maps[:, :2])
    torch.testing.assert_close(loud_maps[:, 2], 250 * maps[:, 2])
    torch.testing.assert_close(loud_series, 250 * series)


def test_the_phase_of_the_object_moves_to_the_denoised_series():
    h = _normal(torch.randn(1, 3, 4, 5, dtype=torch.complex64, generator=torch.Generator().manual_seed(3)))
    network, turn = _network(True), torch.polar(torch.tensor(1.0), torch.tensor(0.7))
    one, other = network(h, _normal, NORM), network(turn * h, _normal, NORM)
    torch.testing.assert_close(one.maps[-1], other.maps[-1], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(turn * one.tsmi[-1], other.tsmi[-1], rtol=1e-3, atol=1e-4)


def test_empty_measurements_have_finite_maps_and_gradients():
    network = _network()
    found = network(torch.zeros(1, 3, 4, 5), _normal, NORM)
    assert (found.maps[-1][:, 2] < 1e-6).all() and torch.isfinite(found.maps[-1]).all()
    found.maps[-1].square().sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in network.encoder.parameters() if p.grad is not None)


@pytest.fixture(scope="module")
def dictionary():
    return Dictionary.build(read_schedule("jiang:40", ti=18.0), log_grid(20, 20, (100, 5000), (10, 1200)), 3)


@pytest.mark.parametrize("complex_valued", [False, True])
def test_a_fitted_head_knows_the_dictionary_whatever_the_proton_density_and_phase(dictionary, complex_valued):
    network = _network(complex_valued, head_hidden=48)
    torch.nn.init.zeros_(network.encoder.denoisers[0].out.weight)
    relaxation = dictionary.lut_ms.float() / 1000
    error = fit_head(network, dictionary.atoms, relaxation, steps=600)
    assert error < 0.25
    series = 0.3 * dictionary.atoms[::7].T[None, :, :, None]
    if complex_valued:
        series = series * torch.polar(torch.tensor(1.0), torch.tensor(2.0))
    with torch.no_grad():
        maps, denoised = network.encode(series)
    assert float((maps[0, :2, :, 0].T / relaxation[::7]).log().square().mean().sqrt()) < 0.25
    assert float((maps[0, 2] / 0.3 - 1).abs().mean()) < 0.1
    torch.testing.assert_close(denoised, series, rtol=1e-4, atol=1e-6)


def test_channels_that_are_zero_in_every_atom_do_not_blow_noise_up(dictionary):
    """The imaginary parts of a complex series, turned to its first component's phase."""
    atoms = torch.cat([dictionary.atoms, torch.zeros_like(dictionary.atoms)], dim=1)
    for module in (_network(True).encoder.head, MRFResNet(6)):
        module.fit_normalisation(atoms)
        assert (module.deviation > 1e-3).all()


def test_the_masked_loss_counts_relaxation_inside_and_proton_density_everywhere():
    target, mask = torch.rand(2, 3, 4, 5), torch.zeros(2, 4, 5, dtype=torch.bool)
    mask[:, :2] = True
    background = target.clone()
    background[:, :2, 2:] += 100.0
    assert masked_map_loss(background, target, mask) == 0
    background[:, 2, 2:] += 0.5
    torch.testing.assert_close(masked_map_loss(background, target, mask), torch.tensor(2.5 * 0.25))
    everywhere = torch.ones_like(mask)
    torch.testing.assert_close(masked_map_loss(background, target, everywhere), map_loss(background, target))
    loss = ProxNetLoss(tsmi_weight=0.0, measurement_weight=0.0, masked=True)
    found = Iterates([], [background], [target])
    total = loss(found, target, target, lambda x: x, target, torch.zeros(2), 1, mask=mask).total
    torch.testing.assert_close(total, torch.tensor(2.5 * 0.25))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"consistency": "cg"}, "belong together"),
        ({"step_rule": "penalty"}, "belong together"),
        ({"consistency": "momentum"}, "no momentum here: known are gradient, cg, none"),
        ({"consistency": "cg", "step_rule": "penalty", "positive": True}, "positive by themselves"),
    ],
)
def test_parts_that_do_not_fit_are_named(options, said):
    with pytest.raises(UserError, match=said):
        UnrolledNetwork(DictionaryEncoder(3), BlochDecoder(3, 8), **options)
