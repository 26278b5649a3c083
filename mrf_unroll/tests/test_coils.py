"""Coil maps: normalised where simulated, recovered where missing, compressed without loss of signal."""

import pytest
import torch

from mrf_unroll.classical import conjugate_gradient
from mrf_unroll.coils import compress_coils, estimate_coil_maps, gaussian_ring_maps
from mrf_unroll.operators import SubspaceOperator, ToeplitzNormal
from mrf_unroll.trajectory import golden_spiral, spiral_dcf
from shared_utils import UserError


@pytest.fixture(scope="module")
def scan():
    """A disc of one tissue seen by four coils through a well sampled spiral, 32 x 32."""
    trajectory, frames = golden_spiral(24, 160, 8), 24
    basis = torch.linalg.qr(torch.randn(frames, 2, generator=torch.Generator().manual_seed(0)).double())[0]
    maps = gaussian_ring_maps(4, 32, 32)
    row, column = torch.meshgrid(torch.linspace(-1, 1, 32), torch.linspace(-1, 1, 32), indexing="ij")
    disc = (row**2 + column**2 < 0.7).float()
    operator = SubspaceOperator(trajectory, basis, (32, 32), maps, spiral_dcf(trajectory))
    x = torch.stack([disc, 0.3 * disc * (1 + row)])[None] + 0j
    return operator, x, operator(x)[0], disc.bool()


def test_ring_maps_are_normalised():
    maps = gaussian_ring_maps(5, 20, 24)
    assert maps.shape == (5, 20, 24) and maps.dtype == torch.complex64
    assert torch.allclose(maps.abs().square().sum(dim=0), torch.ones(20, 24), atol=1e-5)
    assert torch.equal(gaussian_ring_maps(1, 3, 4), torch.ones(1, 3, 4) + 0j)


def test_maps_are_found_in_the_scan_itself(scan):
    operator, _, y, disc = scan
    found = estimate_coil_maps(y, operator.trajectory, operator.basis, (32, 32), operator.dcf)
    assert torch.allclose(found.abs().square().sum(dim=0), torch.ones(32, 32), atol=1e-4)
    # Maps are known up to one phase a pixel: the part along the true maps is what counts.
    along = (found.conj() * operator.coil_maps).sum(dim=0).abs()[disc]
    assert along.min() > 0.9 and along.mean() > 0.98


def test_the_phase_of_found_maps_varies_as_slowly_as_that_of_coils(scan):
    """Eigenvectors have any phase, pixel by pixel: without a reference an object would get it."""
    operator, _, y, disc = scan
    found = estimate_coil_maps(y, operator.trajectory, operator.basis, (32, 32), operator.dcf)
    both = disc[1:] & disc[:-1]
    strong = both & (found.abs()[:, 1:] * found.abs()[:, :-1] > 0.05)
    turns = (found[:, 1:] * found[:, :-1].conj()).angle().abs()
    assert strong.sum() > 1000 and float(turns[strong].max()) < 0.5
    shared = torch.linalg.eigh(
        torch.einsum("chw,dhw->cd", found[:, disc][..., None], found[:, disc][..., None].conj())
    )[1]
    combined = torch.einsum("c,chw->hw", shared[:, -1].conj(), found)[disc]
    assert float((combined / combined.mean()).angle().abs().max()) < 1.0


def test_a_reconstruction_with_found_maps_is_nearly_that_with_the_true_ones(scan):
    operator, x, y, disc = scan
    found = estimate_coil_maps(y, operator.trajectory, operator.basis, (32, 32), operator.dcf)
    own = operator.with_coil_maps(found)
    solved = conjugate_gradient(ToeplitzNormal.from_operator(own), own.weighted_adjoint(y[None]), 1e-3, 20).x
    error = (solved.abs() - x.abs())[..., disc].norm() / x[..., disc].norm()
    assert error < 0.15


def test_one_coil_is_uniform(scan):
    operator, _, y, _ = scan
    assert torch.equal(
        estimate_coil_maps(y[:1], operator.trajectory, operator.basis, (32, 32)), torch.ones(1, 32, 32) + 0j
    )


def test_compression_keeps_energy_and_the_signal_model(scan):
    operator, x, y, _ = scan
    fewer, maps = compress_coils(y, operator.coil_maps, 3)
    assert fewer.shape == (3, *y.shape[1:]) and maps.shape == (3, 32, 32)
    assert fewer.norm() > 0.97 * y.norm()
    assert torch.allclose(operator.with_coil_maps(maps)(x)[0], fewer, atol=1e-4 * float(y.abs().max()))
    with pytest.raises(UserError, match="cannot be compressed to 5"):
        compress_coils(y, None, 5)
