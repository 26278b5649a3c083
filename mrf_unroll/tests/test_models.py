"""The networks: what holds of them whatever their weights."""

import pytest
import torch

from mrf_unroll.models import ENCODERS, BlochDecoder, ResNet, UnrolledNetwork, build_encoder
from mrf_unroll.models.unrolled import ORIENTATIONS, seen_as
from shared_utils import UserError


def _diagonal(weights):
    """A normal operator that is diagonal in the Fourier domain, positive and self-adjoint."""

    def normal(x):
        y = torch.fft.ifft2(weights * torch.fft.fft2(x))
        return y if x.is_complex() else y.real

    return normal


@pytest.fixture
def problem():
    torch.manual_seed(0)
    weights = torch.rand(12, 10)
    weights = (weights + weights.flip(0, 1).roll((1, 1), (0, 1))) / 2
    return torch.randn(2, 4, 12, 10), _diagonal(weights)


def _network(complex_valued=False, **options):
    torch.manual_seed(1)
    encoder = ResNet(8 if complex_valued else 4, hidden=6, blocks=2)
    return UnrolledNetwork(encoder, BlochDecoder(4, 12), complex_valued=complex_valued, **options)


def test_iterates_follow_the_published_recursion(problem):
    adjoint, normal = problem
    network = _network(iterations=3, initial_alpha=[2.0, -1.0, 0.5])
    found = network(adjoint, normal)
    steps = [3.0, 1.0, 1.5]
    g = steps[0] * adjoint
    for t in range(3):
        if t:
            g = x - steps[t] * (normal(x) - adjoint)  # noqa: F821 (set in the turn before)
        m = network.encoder(g)
        x = network.decoder(m)
        for kept, expected in zip(found, (g, m, x), strict=True):
            torch.testing.assert_close(kept[t], expected)


def test_one_iteration_is_an_end_to_end_network(problem):
    adjoint, normal = problem
    network = _network(iterations=1, initial_alpha=2.0)
    torch.testing.assert_close(network(adjoint, normal).maps[0], network.encoder(3.0 * adjoint))


def test_without_data_consistency_the_measurements_are_seen_once(problem):
    adjoint, normal = problem
    network = _network(iterations=3, consistency="none")
    found = network(adjoint, normal)
    torch.testing.assert_close(found.inputs[1], found.tsmi[0])
    torch.testing.assert_close(found.inputs[2], found.tsmi[1])


@torch.no_grad()
def test_a_symmetric_network_has_no_up_and_no_left():
    network, g = _network(symmetric=True).eval(), torch.randn(1, 4, 9, 6, generator=torch.Generator().manual_seed(0))
    maps = network.encode(g)[0]
    turned = [seen_as(orientation, lambda x: network.encode(x)[0], g) for orientation in range(ORIENTATIONS)]
    for other in turned:
        torch.testing.assert_close(other, maps)
    network.symmetric = False
    views = torch.stack(
        [seen_as(orientation, lambda x: network.encode(x)[0], g) for orientation in range(ORIENTATIONS)]
    )
    assert float((views - views[0]).abs().amax(dim=(1, 2, 3, 4))[1:].min()) > 1e-3  # eight different ones
    torch.testing.assert_close(views.mean(dim=0), maps)
    network.train().symmetric = True
    drawn = network.encode(g)[0]
    assert float((views - drawn).abs().amax(dim=(1, 2, 3, 4)).min()) < 1e-6


def test_lipschitz_steps_do_not_depend_on_the_scale_of_the_operator(problem):
    adjoint, normal = problem
    network = _network(iterations=3, step_rule="softplus", initial_alpha=1.0)
    one = network(adjoint, normal, 2.0).maps[-1]
    other = network(7 * adjoint, lambda x: 7 * normal(x), 14.0).maps[-1]
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_the_phase_of_the_object_moves_to_the_time_series_and_not_to_the_maps(problem):
    adjoint, normal = problem
    adjoint = torch.complex(adjoint, adjoint.flip(-1))
    network = _network(True, iterations=2)
    turn = torch.polar(torch.tensor(1.0), torch.tensor(0.7))
    one, other = network(adjoint, normal), network(turn * adjoint, normal)
    torch.testing.assert_close(one.maps[-1], other.maps[-1], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(turn * one.tsmi[-1], other.tsmi[-1], rtol=1e-4, atol=1e-5)


def test_complex_network_has_gradients_where_the_image_is_empty(problem):
    adjoint, normal = problem
    adjoint = torch.complex(adjoint, adjoint.flip(-1))
    adjoint[..., :4, :] = 0
    network = _network(True, iterations=2)
    network(adjoint, normal).maps[-1].square().sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.requires_grad)


def test_decoder_is_frozen_and_steps_are_learnt(problem):
    adjoint, normal = problem
    network = _network(iterations=2)
    network(adjoint, normal).maps[-1].square().mean().backward()
    assert all(p.grad is None for p in network.decoder.parameters())
    assert network.alpha.grad.abs().min() > 0


def test_the_operator_stays_in_single_precision_under_autocast(problem):
    adjoint, normal = problem
    seen = []

    def watched(x):
        seen.append(x.dtype)
        return normal(x)

    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = _network(iterations=3)(adjoint, watched)
    assert seen == [torch.float32] * 2 and found.inputs[-1].dtype == torch.float32


def test_decoder_is_linear_in_proton_density():
    decoder = BlochDecoder(5, 16)
    maps = torch.rand(2, 3, 4, 6)
    scaled = maps * torch.tensor([1.0, 1.0, 2.5])[:, None, None]
    torch.testing.assert_close(decoder(scaled), 2.5 * decoder(maps))


@pytest.mark.parametrize("name", ENCODERS)
def test_every_encoder_keeps_the_image_size(name):
    encoder = build_encoder({"name": name}, 6).eval()
    assert encoder(torch.randn(2, 6, 13, 22)).shape == (2, 3, 13, 22)


def test_mrfresnet_separates_proton_density_from_relaxation():
    encoder = build_encoder({"name": "mrfresnet"}, 6).eval()
    x = torch.randn(1, 6, 5, 5)
    one, other = encoder(x), encoder(4 * x)
    torch.testing.assert_close(other[:, :2], one[:, :2])
    torch.testing.assert_close(other[:, 2], 4 * one[:, 2])


def test_positive_maps_are_never_below_zero(problem):
    adjoint, normal = problem
    assert (_network(iterations=2, positive=True)(adjoint, normal).maps[-1] >= 0).all()


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: build_encoder({"name": "resnext"}, 4), "no encoder resnext: known are dictionary, resnet, unet"),
        (lambda: build_encoder({"name": "resnet", "depth": 3}, 4), "encoder resnet: .*depth"),
        (lambda: _network(iterations=3, initial_alpha=[1.0, 2.0]), "3 iterations need as many values of alpha"),
        (lambda: UnrolledNetwork(ResNet(4), BlochDecoder(4, complex_valued=True)), "complex_valued: true"),
    ],
)
def test_mistakes_are_named(make, said):
    with pytest.raises(UserError, match=said):
        make()
