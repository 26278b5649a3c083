"""The laws of the operators: adjointness, agreement of fast and explicit forms, gradients, and the direct sum."""

import numpy as np
import pytest
import torch

from mrf_unroll.nufft import Nufft
from mrf_unroll.operators import (
    CartesianMaskOperator,
    FrameOperator,
    KernelCache,
    SubspaceOperator,
    ToeplitzNormal,
    least_squares_scale,
    operator_norm,
)
from mrf_unroll.trajectory import golden_spiral, spiral_dcf
from shared_utils import UserError

SIZES = [(16, 16), (15, 18), (9, 13)]


def direct(points, image_size):
    """The matrix of the transform, (P, HW), in double precision."""
    axes = [torch.arange(size) - size // 2 for size in image_size]
    grid = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).reshape(-1, 2).double()
    return torch.exp(-2j * torch.pi * (points.double() @ grid.T)) / np.sqrt(len(grid))


def draw(*shape, seed=0, dtype=torch.complex64):
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def relative(found, expected):
    return float(torch.linalg.vector_norm(found - expected) / torch.linalg.vector_norm(expected))


def orthonormal(frames, rank, complex_valued=False, seed=3):
    kind = torch.complex128 if complex_valued else torch.float64
    return torch.linalg.qr(draw(frames, rank, seed=seed, dtype=kind))[0]


def make(image_size, coils=2, complex_basis=False, weighted=True, rank=3, frames=12, samples=40):
    trajectory = golden_spiral(frames, samples, 4)
    maps = None if coils == 0 else draw(coils, *image_size, seed=1)
    dcf = spiral_dcf(trajectory) if weighted else None
    return SubspaceOperator(trajectory, orthonormal(frames, rank, complex_basis), image_size, maps, dcf)


@pytest.mark.parametrize("image_size", SIZES)
def test_the_transform_is_the_direct_sum(image_size):
    # Samples at the edge, outside one period, at the centre, and repeated.
    edge = torch.tensor([[-0.5, -0.5], [0.5, 0.25], [0.7, -1.2], [0.0, 0.0], [0.1, 0.2], [0.1, 0.2]])
    points = torch.cat([edge, torch.rand(200, 2, generator=torch.Generator().manual_seed(0)) - 0.5])
    matrix = direct(points, image_size)
    x, y = draw(2, *image_size, dtype=torch.complex128), draw(2, len(points), dtype=torch.complex128)
    for kind, tolerance in ((torch.complex128, 2e-7), (torch.complex64, 2e-6)):
        transform = Nufft(points, image_size)
        assert relative(transform.forward(x.to(kind)), x.flatten(1) @ matrix.T) < tolerance
        assert relative(transform.adjoint(y.to(kind)).flatten(1), y @ matrix.conj()) < tolerance


def test_finufft_gives_the_same():
    pytest.importorskip("finufft", reason="finufft is not installed")
    points = torch.rand(100, 2, generator=torch.Generator().manual_seed(0)) - 0.5
    ours, theirs = Nufft(points, (14, 11)), Nufft(points, (14, 11), backend="finufft")
    x, y = draw(3, 2, 14, 11), draw(2, 100)
    assert relative(theirs.forward(x), ours.forward(x)) < 1e-5
    assert relative(theirs.adjoint(y), ours.adjoint(y)) < 1e-5


def test_a_backend_that_is_not_installed_is_named(monkeypatch):
    import builtins

    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "finufft":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UserError, match="install it, or use the backend torch"):
        Nufft(torch.zeros(1, 2), (8, 8), backend="finufft")


@pytest.mark.parametrize("image_size", SIZES)
@pytest.mark.parametrize("coils", [0, 1, 3])
@pytest.mark.parametrize("complex_basis", [False, True])
def test_adjoint(image_size, coils, complex_basis):
    operator = make(image_size, coils, complex_basis)
    x = draw(2, 3, *image_size)
    y = operator(x)
    other = draw(*y.shape, seed=5)
    left, right = torch.vdot(y.flatten(), other.flatten()), torch.vdot(x.flatten(), operator.adjoint(other).flatten())
    assert abs(left - right) < 1e-5 * torch.linalg.vector_norm(y) * torch.linalg.vector_norm(other)


@pytest.mark.parametrize("image_size", SIZES)
@pytest.mark.parametrize("coils", [0, 1, 3])
@pytest.mark.parametrize("complex_basis", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_toeplitz_is_the_explicit_normal_operator(image_size, coils, complex_basis, weighted):
    operator = make(image_size, coils, complex_basis, weighted)
    toeplitz = ToeplitzNormal.from_operator(operator)
    x, z = draw(2, 3, *image_size), draw(2, 3, *image_size, seed=7)
    assert relative(toeplitz(x), operator.normal(x)) < 1e-5
    assert toeplitz(x.real).dtype == torch.float32
    assert relative(toeplitz(x.real.contiguous()), operator.normal(x.real.contiguous())) < 1e-5
    left, right = torch.vdot(toeplitz(x).flatten(), z.flatten()), torch.vdot(x.flatten(), toeplitz(z).flatten())
    assert abs(left - right) < 1e-5 * abs(left)
    rayleigh = (x.conj() * toeplitz(x)).real.flatten(1).sum(dim=1)
    assert (rayleigh >= 0).all()
    assert rayleigh[0] == pytest.approx(
        float(operator.weighted(operator(x)).mul(operator(x).conj()).real[0].sum()), rel=1e-4
    )


def test_kernels_are_those_of_the_definition():
    operator = make((6, 7), 0, complex_basis=True)
    kernel = ToeplitzNormal.from_operator(operator).offset_kernels()
    basis, weights = operator.basis, operator.dcf
    points = operator.trajectory
    for k, m, down, right in [(0, 0, 0, 0), (0, 1, 2, -3), (2, 1, -5, 6), (1, 2, 5, -6)]:
        turn = torch.exp(2j * torch.pi * (points @ torch.tensor([down, right]).double()))
        expected = (weights * turn * (basis[:, k].conj() * basis[:, m])[:, None]).sum() / 42
        assert abs(kernel[k, m, 6 + down, 7 + right] - expected) < 1e-5 * abs(kernel).max()
    assert kernel[:, :, 0].abs().max() < 1e-6 and kernel[..., 0].abs().max() < 1e-6


@pytest.mark.parametrize("coils", [0, 2])
def test_gradients_in_double_precision(coils):
    operator = make((3, 4), coils, rank=2, frames=3, samples=4)
    toeplitz = ToeplitzNormal.from_operator(operator)
    complex_x = draw(1, 2, 3, 4, dtype=torch.complex128).requires_grad_()
    real_x = draw(1, 2, 3, 4, dtype=torch.float64).requires_grad_()
    y = draw(1, max(coils, 1), 3, 4, dtype=torch.complex128).requires_grad_()
    assert torch.autograd.gradcheck(operator, complex_x)
    assert torch.autograd.gradcheck(operator, real_x)
    assert torch.autograd.gradcheck(operator.adjoint, y)
    assert torch.autograd.gradcheck(toeplitz, complex_x)
    assert torch.autograd.gradcheck(toeplitz, real_x)
    assert torch.autograd.gradgradcheck(toeplitz, real_x)


def test_coil_maps_may_differ_in_a_batch():
    operator = make((10, 12), 3)
    toeplitz = ToeplitzNormal.from_operator(operator)
    maps = draw(2, 3, 10, 12, seed=9)
    x = draw(2, 3, 10, 12)
    both, both_fast = operator.with_coil_maps(maps), toeplitz.with_coil_maps(maps)
    for item in range(2):
        alone = operator.with_coil_maps(maps[item])
        assert relative(both(x)[item : item + 1], alone(x[item : item + 1])) < 1e-6
        assert relative(both_fast(x)[item : item + 1], alone.normal(x[item : item + 1])) < 1e-5
    assert operator.coil_maps.shape == (3, 10, 12), "the operator that was asked keeps its own maps"


def test_an_operator_adds_nothing_to_a_checkpoint():
    assert not make((8, 8)).state_dict() and not ToeplitzNormal.from_operator(make((8, 8))).state_dict()


def test_a_map_of_ones_is_no_map():
    operator = make((10, 12), 0)
    ones = operator.with_coil_maps(torch.ones(1, 10, 12) + 0j)
    x = draw(2, 3, 10, 12).real.contiguous()
    assert ones.coil_maps is None and torch.equal(ones(x), operator(x)) and ones(x).shape == (2, 1, 12, 40)


def test_frames_are_sampled_at_their_own_points():
    operator = make((12, 11), 2)
    whole = SubspaceOperator(operator.trajectory, torch.eye(12), (12, 11), operator.coil_maps)
    x = draw(2, 12, 12, 11)
    assert relative(FrameOperator(operator.trajectory, (12, 11), operator.coil_maps)(x), whole(x)) < 1e-6
    single = FrameOperator(operator.trajectory, (12, 11))(x.real.contiguous())
    assert relative(single, whole.with_coil_maps(None)(x.real.contiguous())) < 1e-6


def test_autocast_leaves_the_operators_in_single_precision():
    operator = make((12, 12))
    toeplitz = ToeplitzNormal.from_operator(operator)
    x = draw(1, 3, 12, 12).real.contiguous()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = operator.adjoint(operator(x)), toeplitz(x)
        from_half = toeplitz(x.bfloat16())
    assert half[0].dtype == torch.complex64 and torch.equal(half[0], operator.adjoint(operator(x)))
    assert half[1].dtype == torch.float32 and torch.equal(half[1], toeplitz(x))
    assert from_half.dtype == torch.float32 and torch.equal(from_half, toeplitz(x.bfloat16().float()))


def test_kernels_are_kept_in_a_folder_for_later_commands(tmp_path, monkeypatch):
    operator = make((8, 9), 2)
    first = ToeplitzNormal.from_operator(operator, KernelCache(tmp_path))
    monkeypatch.setattr("mrf_unroll.operators.toeplitz.kernels_of", lambda _: pytest.fail("built again"))
    assert torch.equal(ToeplitzNormal.from_operator(operator, KernelCache(tmp_path)).kernels, first.kernels)
    monkeypatch.undo()
    other = make((8, 10), 2)
    built = ToeplitzNormal.from_operator(other, KernelCache(tmp_path))
    assert torch.equal(built.kernels, ToeplitzNormal.from_operator(other).kernels)
    assert len(list(tmp_path.iterdir())) == 2
    next(iter(tmp_path.iterdir())).write_bytes(b"no kernels")
    with pytest.raises(UserError, match="is not an .npz"):
        for one in (operator, other):
            KernelCache(tmp_path).kernels_of(one)


def test_scans_of_one_acquisition_share_their_kernels():
    cache, operator = KernelCache(), make((8, 9), 2)
    first = ToeplitzNormal.from_operator(operator, cache)
    again = ToeplitzNormal.from_operator(operator.with_coil_maps(None), cache)
    assert again.kernels is first.kernels and again.coil_maps is None
    for other in (make((8, 9), weighted=False), make((8, 10))):
        built = ToeplitzNormal.from_operator(other, cache)
        assert torch.equal(built.kernels, ToeplitzNormal.from_operator(other).kernels)


def test_the_norm_bounds_and_the_scale_fits():
    operator = make((10, 10), rank=2)
    toeplitz = ToeplitzNormal.from_operator(operator)
    matrix = torch.stack(
        [toeplitz(unit.reshape(1, 2, 10, 10)).flatten() for unit in torch.eye(200, dtype=torch.complex64)], dim=1
    )
    largest = float(torch.linalg.eigvalsh(matrix)[-1])
    # Power iterations approach the norm from below.
    assert 0.9 * largest < operator_norm(toeplitz, (2, 10, 10), 50, torch.complex64) <= largest * (1 + 1e-4)
    h = toeplitz(draw(3, 2, 10, 10))
    scale = least_squares_scale(h, toeplitz)
    assert scale.shape == (3,) and least_squares_scale(torch.zeros_like(h), toeplitz).abs().max() == 0
    residual = h - scale[:, None, None, None] * toeplitz(h)
    assert (
        (residual.conj() * toeplitz(h)).real.flatten(1).sum(dim=1).abs() < 1e-3 * (h.abs() ** 2).flatten(1).sum(dim=1)
    ).all()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_gives_the_same():
    operator = make((12, 14), 2)
    toeplitz, frames = ToeplitzNormal.from_operator(operator), FrameOperator(operator.trajectory, (12, 14))
    x, series = draw(2, 3, 12, 14), draw(1, 12, 12, 14)
    expected = operator(x), operator.adjoint(operator(x)), toeplitz(x), toeplitz(x.real.contiguous()), frames(series)
    there = operator.cuda(), toeplitz.cuda(), frames.cuda()
    x, series = x.cuda(), series.cuda()
    y = there[0](x)
    found = y, there[0].adjoint(y), there[1](x), there[1](x.real.contiguous()), there[2](series)
    for one, other in zip(found, expected, strict=True):
        assert one.is_cuda and relative(one.cpu(), other) < 1e-4


@pytest.mark.parametrize("complex_basis", [False, True])
def test_the_published_operator_is_adjoint_over_the_reals(complex_basis):
    generator = torch.Generator().manual_seed(0)
    mask = torch.randperm(6 * 81, generator=generator)[:100]
    operator = CartesianMaskOperator(mask, orthonormal(6, 2, complex_basis), (9, 9))
    x, y = draw(2, 2, 9, 9).real.contiguous(), draw(2, 100)
    left, right = (operator(x).conj() * y).real.sum(), (x * operator.adjoint(y)).sum()
    assert left == pytest.approx(float(right), rel=1e-4)
    double = draw(1, 2, 9, 9, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(operator.normal, double)


def test_what_does_not_fit_is_named():
    trajectory, basis = golden_spiral(4, 10, 2), torch.eye(4)
    for arguments, message in [
        ((trajectory[0], basis, (8, 8)), r"\(N, P, 2\)"),
        ((trajectory, torch.eye(5), (8, 8)), "does not fit 4 frames"),
        ((trajectory, basis, (8, 8), torch.ones(2, 8, 9)), r"\(C, H, W\)"),
        ((trajectory, basis, (8, 8), None, torch.ones(4, 9)), "dcf"),
    ]:
        with pytest.raises(ValueError, match=message):
            SubspaceOperator(*arguments)
    with pytest.raises(ValueError, match="square"):
        CartesianMaskOperator(torch.zeros(1), basis, (8, 9))
    with pytest.raises(ValueError, match="subtract 1"):
        CartesianMaskOperator(torch.tensor([256]), basis, (8, 8))


@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
def test_many_samples_whose_matrix_is_not_kept_are_transformed_alike(monkeypatch, dtype):
    torch.manual_seed(0)
    points = torch.rand(300, 2) - 0.5
    images, samples = torch.randn(3, 14, 17, dtype=dtype), torch.randn(3, 300, dtype=dtype)
    kept = Nufft(points, (14, 17))
    monkeypatch.setattr("mrf_unroll.nufft._KEPT", 100)
    monkeypatch.setattr("mrf_unroll.nufft._CHUNK", 128)
    parted = Nufft(points, (14, 17))
    torch.testing.assert_close(parted.forward(images), kept.forward(images), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(parted.adjoint(samples), kept.adjoint(samples), rtol=1e-4, atol=1e-5)
    weights = torch.rand(300, dtype=torch.float64)
    torch.testing.assert_close(parted.smoothed(weights), kept.smoothed(weights))
