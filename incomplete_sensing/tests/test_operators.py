"""Every family obeys the laws of a linear operator with its adjoint and its pseudo-inverse."""

import numpy as np
import pytest
import torch

from incomplete_sensing.operators import (
    CallableOperators,
    DenseOperators,
    MaskOperators,
    MRIOperators,
    MultiCoilMRIOperators,
    OperatorOptions,
    TomographyOperators,
    cgls,
    draw_operators,
    duplicates,
    empty_family,
    estimate_coil_maps,
    fastmri_column_mask,
    read_operators,
    write_operators,
)
from incomplete_sensing.operators.mri import fft2c, ifft2c, to_complex, to_real
from shared_utils import UserError


def _coil_maps(coils, height, width):
    generator = torch.Generator().manual_seed(1)
    maps = torch.complex(*torch.randn(2, coils, height, width, generator=generator))
    return maps / maps.abs().square().sum(0).sqrt()


def _callables():
    matrices = torch.randn(3, 7, 30, generator=torch.Generator().manual_seed(2))
    pairs = [(lambda x, a=a: x.flatten(1) @ a.T, lambda y, a=a: (y @ a).reshape(-1, 1, 5, 6)) for a in matrices]
    return CallableOperators(pairs, (1, 5, 6), (7,))


def _ragged():
    matrices = torch.randn(3, 8, 15, generator=torch.Generator().manual_seed(3))
    return DenseOperators(matrices, (1, 3, 5), torch.tensor([8, 3, 5]))


FAMILIES = {
    "gaussian": lambda: draw_operators(OperatorOptions("gaussian", 3, 20), (1, 7, 9)),
    "ragged": _ragged,
    "masks": lambda: draw_operators(OperatorOptions("mask", 3, keep=0.4), (3, 7, 9)),
    "mri columns": lambda: draw_operators(OperatorOptions("mri", 3, acceleration=2, centre_fraction=0.2), (2, 9, 15)),
    "mri pattern": lambda: MRIOperators((torch.arange(3 * 63).reshape(3, 7, 9) % 3 > 0).float(), (2, 7, 9)),
    "multi-coil": lambda: MultiCoilMRIOperators(
        torch.stack([fastmri_column_mask(15, 2, 0.2, seed) for seed in range(3)]), _coil_maps(4, 9, 15)
    ),
    "ct": lambda: draw_operators(OperatorOptions("ct", 3, num_views=6), (2, 9, 11)),
    "callable": _callables,
}
every_family = pytest.mark.parametrize("family", [pytest.param(make, id=name) for name, make in FAMILIES.items()])


def _vectors(family, batch, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(batch, *family.image_shape, generator=generator)
    y = torch.randn(batch, *family.measurement_shape, generator=generator) * family.observed(0).new_ones(1)
    return x, y, torch.arange(batch) % family.num_operators


@every_family
@pytest.mark.parametrize("batch", [1, 5])
def test_adjoint_passes_the_dot_product_test(family, batch):
    family = family()
    x, y, g = _vectors(family, batch)
    image = family(x, g)
    left, right = (image * y).sum(), (x * family.adjoint(y, g)).sum()
    assert abs(left - right) <= 1e-5 * image.norm() * y.norm()


@every_family
@pytest.mark.parametrize("batch", [1, 5])
def test_pseudo_inverse_is_one(family, batch):
    family = family()
    x, y, g = _vectors(family, batch)
    image = family(x, g)
    assert (family(family.pinv(image, g), g) - image).norm() <= 1e-5 * image.norm()
    # Of least norm: it lies in the row space, where A^+ A leaves it alone.
    least = family.pinv(y, g)
    assert (family.pinv(family(least, g), g) - least).norm() <= 1e-4 * least.norm()


@every_family
def test_operators_are_linear_and_mixed_batches_equal_single_ones(family):
    family = family()
    x, y, g = _vectors(family, 5)
    assert torch.allclose(family(2 * x + x.flip(0), g)[:1], 2 * family(x, g)[:1] + family(x.flip(0), g)[:1], atol=1e-4)
    for apply, values in ((family, x), (family.adjoint, y), (family.pinv, y)):
        mixed = apply(values, g)
        alone = torch.cat([apply(values[i : i + 1], int(g[i])) for i in range(5)])
        assert torch.allclose(mixed, alone, atol=1e-4 * float(alone.abs().max()))


@every_family
def test_gradients_are_the_adjoints(family):
    family = family()
    x, y, g = _vectors(family, 3)
    x.requires_grad_()
    (gradient,) = torch.autograd.grad((family(x, g) * y).sum(), x)
    assert torch.allclose(gradient, family.adjoint(y, g), atol=1e-4)
    y.requires_grad_()
    weight = torch.randn_like(x)
    (gradient,) = torch.autograd.grad((family.pinv(y, g) * weight).sum(), y)
    # <A^+ y, w> is linear in y: its gradient along any direction is its value there.
    direction = torch.randn_like(y)
    along = (family.pinv(direction, g) * weight).sum()
    assert torch.allclose((gradient * direction).sum(), along, rtol=1e-3, atol=1e-3 * float(weight.norm()))


@every_family
def test_unobserved_entries_are_never_measured(family):
    family = family()
    x, _, g = _vectors(family, 3)
    hidden = 1 - family.observed(g).expand(3, *family.measurement_shape)
    assert not (family(x, g) * hidden).any()
    counts = torch.stack([family.observed(k).expand(1, *family.measurement_shape).sum() for k in range(3)])
    assert counts.long().tolist() == family.num_measurements.tolist()


@every_family
def test_matrices_are_the_operators(family):
    family = family()
    x, _, _ = _vectors(family, 1)
    for g, matrix in enumerate(family.as_matrices()):
        seen = family.observed(g).expand(1, *family.measurement_shape).bool()
        assert torch.allclose(matrix.double() @ x.flatten().double(), family(x, g)[seen].double(), atol=1e-4)


@pytest.mark.parametrize("name", [name for name in FAMILIES if name != "callable"])
def test_families_are_stored_and_subset_number_for_number(name, tmp_path):
    family = FAMILIES[name]()
    again = empty_family(family.description())
    again.load_state_dict(family.state_dict())
    assert again.fingerprint() == family.fingerprint()
    write_operators(family, tmp_path / "operators.npz")
    assert read_operators(tmp_path / "operators.npz").fingerprint() == family.fingerprint()
    x, _, _ = _vectors(family, 2)
    assert torch.equal(family.subset([2, 0])(x, torch.tensor([0, 1])), family(x, torch.tensor([2, 0])))


def test_conjugate_gradients_agree_with_the_matrix_and_so_do_their_gradients():
    family = FAMILIES["multi-coil"]()
    _, y, g = _vectors(family, 3)
    y.requires_grad_()
    exact = family.pinv(y, g)
    (exact_gradient,) = torch.autograd.grad(exact.square().sum(), y)
    family.dense_limit = 0
    found = family.pinv(y, g)
    (gradient,) = torch.autograd.grad(found.square().sum(), y)
    assert torch.allclose(found, exact, atol=1e-3 * float(exact.detach().abs().max()))
    assert torch.allclose(gradient, exact_gradient, atol=1e-3 * float(exact_gradient.abs().max()))


def test_damped_least_squares_solve_the_normal_equations():
    a = torch.randn(6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    y = torch.randn(2, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    found = cgls(lambda x: x @ a.T, lambda v: v @ a, y, damping=0.3, tolerance=1e-12)
    assert torch.allclose(found, y @ a @ torch.linalg.inv(a.T @ a + 0.3 * torch.eye(4)), atol=1e-9)


def test_regularised_solution_has_zero_gradient():
    family = FAMILIES["mri columns"]()
    x, y, g = _vectors(family, 2)
    found = family.regularised(y, g, 0.2, prior=x)
    gradient = family.adjoint(family(found, g) - y, g) + 0.2 * (found - x)
    assert gradient.abs().max() < 1e-5


def test_families_are_nested_so_that_ten_operators_are_the_first_of_forty():
    for kind, options in (("gaussian", {"num_measurements": 5}), ("mask", {"keep": 0.5}), ("ct", {"num_views": 4})):
        ten = draw_operators(OperatorOptions(kind, 3, **options), (1, 6, 6), seed=4)
        forty = draw_operators(OperatorOptions(kind, 7, **options), (1, 6, 6), seed=4)
        assert ten.fingerprint() == forty.subset([0, 1, 2]).fingerprint()
        later = draw_operators(OperatorOptions(kind, 2, **options), (1, 6, 6), seed=4, first=5)
        assert later.fingerprint() == forty.subset([5, 6]).fingerprint()
        other = draw_operators(OperatorOptions(kind, 3, **options), (1, 6, 6), seed=5)
        assert other.fingerprint() != ten.fingerprint()


def test_gaussian_entries_have_the_published_variance():
    n, m = 400, 100
    matrices = draw_operators(OperatorOptions("gaussian", 2, m), (1, 20, 20)).matrices
    # The variance of 80 000 squares: 5 standard deviations of their mean.
    assert abs(float(matrices.square().mean()) * n - 1) < 5 * (2 / matrices.numel()) ** 0.5
    scaled = draw_operators(OperatorOptions("gaussian", 2, m, row_scale="m"), (1, 20, 20)).matrices
    assert torch.allclose(scaled, matrices * (n / m) ** 0.5)


def test_masks_keep_exactly_so_many_pixels_when_asked():
    exact = draw_operators(OperatorOptions("mask", 5, 17, exact_count=True), (1, 7, 9))
    assert exact.num_measurements.tolist() == [17] * 5
    drawn = draw_operators(OperatorOptions("mask", 20, 17), (1, 7, 9)).num_measurements
    assert len(set(drawn.tolist())) > 1 and abs(float(drawn.float().mean()) - 17) < 4


def test_sinogram_of_every_view_holds_the_mass_of_the_image():
    family = TomographyOperators(torch.tensor([[0.0, 30.0, 90.0, 145.0]]), (1, 21, 21))
    x = torch.zeros(1, 1, 21, 21)
    x[..., 6:15, 5:12] = 1
    sums = family(x, 0).sum(-1)[0, 0]
    assert torch.allclose(sums, x.sum().expand(4), rtol=0.02)
    # The view at 0 degrees sums columns, the one at 90 degrees rows.
    first = (family.num_detectors - 21) // 2
    assert torch.allclose(family(x, 0)[0, 0, 0, first : first + 21], x[0, 0].sum(0), atol=1e-3)
    rows = family(x, 0)[0, 0, 2, first : first + 21]
    assert torch.allclose(rows, x[0, 0].sum(1), atol=1e-3) or torch.allclose(rows, x[0, 0].sum(1).flip(0), atol=1e-3)


def test_filtered_back_projection_approximates_the_image():
    family = TomographyOperators(torch.arange(0, 180, 2.0)[None], (1, 32, 32))
    y, x = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    disc = (((x - 14) ** 2 + (y - 17) ** 2) < 64).float()[None, None]
    assert (family.fbp(family(disc, 0), 0) - disc).norm() < 0.3 * disc.norm()


def test_fourier_transform_is_centred_and_orthonormal():
    x = torch.complex(*torch.randn(2, 3, 9, 12, generator=torch.Generator().manual_seed(0)))
    assert torch.allclose(ifft2c(fft2c(x)), x, atol=1e-5)
    assert torch.allclose(fft2c(x).norm(), x.norm())
    constant = fft2c(torch.ones(9, 12, dtype=torch.complex64))
    assert constant.abs().argmax() == 4 * 12 + 6  # the middle


def test_coil_maps_are_found_from_the_centre_of_one_scan():
    height, width = 48, 40
    y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    image = (x**2 / 0.6 + y**2 / 0.7 < 1).float()
    true = torch.stack([torch.exp(-((x - a) ** 2 + (y - b) ** 2)) for a, b in ((1, 0), (-1, 0), (0, 1), (0, -1))])
    true = (true / true.square().sum(0).sqrt()).to(torch.complex64)
    pattern = torch.zeros(height, width)
    pattern[::2, ::2] = 1
    pattern[12:36, 8:32] = 1
    k_space = fft2c(true * image) * pattern
    maps = estimate_coil_maps(k_space)
    inside = (x**2 / 0.4 + y**2 / 0.5 < 1).float()
    assert ((maps - true).abs() * inside).max() < 0.15
    operators = MultiCoilMRIOperators(pattern[None], maps)
    found = to_complex(operators.regularised(to_real(k_space[None]), 0, 1e-3))[0].abs()
    zero_filled = to_complex(operators.adjoint(to_real(k_space[None]), 0))[0].abs()
    assert (found - image).norm() < 0.5 * (zero_filled - image).norm()


def test_coil_maps_need_a_sampled_centre():
    with pytest.raises(UserError, match="centre of k-space is not fully sampled"):
        estimate_coil_maps(torch.zeros(2, 16, 16, dtype=torch.complex64))


def test_repeated_operators_are_found():
    family = draw_operators(OperatorOptions("gaussian", 3, 4), (1, 4, 4)).subset([0, 1, 0, 2, 1])
    assert duplicates(family) == [(2, 0), (4, 1)]
    assert duplicates(draw_operators(OperatorOptions("gaussian", 3, 4), (1, 4, 4))) == []


def test_operators_keep_their_precision_inside_autocast():
    family = draw_operators(OperatorOptions("gaussian", 2, 6), (1, 4, 4))
    x = torch.randn(3, 1, 4, 4)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(family(x, 1), family(x, 1).float())
        inside = family(x, 1)
    assert torch.equal(inside, family(x, 1))


def test_double_precision_reaches_the_pseudo_inverse():
    family = draw_operators(OperatorOptions("gaussian", 2, 6), (1, 4, 4))
    family.pinv(torch.randn(1, 6), 0)
    family = family.double()
    y = torch.randn(1, 6, dtype=torch.float64)
    assert torch.allclose(family(family.pinv(y, 0), 0), y, atol=1e-12)


def test_badly_conditioned_matrices_are_inverted_in_double():
    u, _ = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(0)))
    v, _ = torch.linalg.qr(torch.randn(20, 6, generator=torch.Generator().manual_seed(1)))
    matrix = (u * torch.tensor([1, 1, 1, 1, 1, 1e-5])) @ v.T
    family = DenseOperators(matrix[None], (1, 4, 5))
    y = family(torch.randn(3, 1, 4, 5), 0)
    assert (family(family.pinv(y, 0), 0) - y).norm() < 1e-5 * y.norm()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DenseOperators(torch.ones(1, 5, 4), (1, 2, 2)), "m = 5 > n = 4"),
        (lambda: DenseOperators(torch.ones(1, 2, 5), (1, 2, 2)), "5 columns"),
        (lambda: DenseOperators(torch.full((1, 2, 4), float("nan")), (1, 2, 2)), "NaN"),
        (lambda: MaskOperators(torch.full((1, 2, 2), 0.5), (1, 2, 2)), "other than 0 and 1"),
        (lambda: MaskOperators(torch.zeros(1, 2, 2), (1, 2, 2)), "operator 0 keeps nothing"),
        (lambda: MaskOperators(torch.ones(1, 3, 2), (1, 2, 2)), "expected"),
        (lambda: MRIOperators(torch.ones(1, 4), (1, 4, 4)), "2 channels"),
        (lambda: draw_operators(OperatorOptions("gaussian", 0, 4), (1, 4, 4)), "at least 1"),
        (lambda: draw_operators(OperatorOptions("gaussian", 1, 17), (1, 4, 4)), "1 .. n = 16"),
        (lambda: draw_operators(OperatorOptions("mask", 1), (1, 4, 4)), "need one of keep"),
        (lambda: draw_operators(OperatorOptions("mask", 1, keep=0.0), (1, 4, 4)), "more than none"),
        (lambda: draw_operators(OperatorOptions("mri", 1, acceleration=50), (2, 40, 40)), "cannot have acceleration"),
        (lambda: draw_operators(OperatorOptions("file"), (1, 4, 4)), "operators.path"),
        (lambda: empty_family({"kind": "callable"}), "which a checkpoint cannot hold"),
        (lambda: CallableOperators([(lambda x: x, lambda y: 2 * y)], (1, 2, 2), (1, 2, 2)), "not an adjoint pair"),
        (lambda: FAMILIES["gaussian"]()(torch.ones(1, 1, 7, 9), 3), "unknown operator 3: known are 0 .. 2"),
        (lambda: FAMILIES["gaussian"]()(torch.ones(2, 1, 7, 9), torch.tensor([0, -1])), "unknown operator -1"),
        (lambda: FAMILIES["gaussian"]()(torch.ones(1, 1, 7, 8), 0), "these operators take"),
        (lambda: FAMILIES["gaussian"]()(torch.ones(2, 1, 7, 9), torch.tensor([0])), "one is needed for each"),
    ],
)
def test_what_cannot_be_is_said(make, message):
    with pytest.raises(UserError, match=message):
        make()


def test_operator_files_say_what_is_wrong_with_them(tmp_path):
    path = tmp_path / "operators.npz"
    with pytest.raises(UserError, match="not found"):
        read_operators(path)
    path.write_bytes(b"no archive")
    with pytest.raises(UserError, match="not a readable"):
        read_operators(path)
    np.savez(path, weights=np.ones(3))
    with pytest.raises(UserError, match="holds weights; expected matrices"):
        read_operators(path)
    np.savez(path, matrices=np.ones((2, 3, 4)), image_shape=[1, 2, 2])
    with pytest.raises(UserError, match=r"for images of shape \(1, 2, 2\)"):
        read_operators(path, (1, 4, 1))
    np.savez(path, masks=np.full((1, 2, 2), 0.3))
    with pytest.raises(UserError, match="other than 0 and 1"):
        read_operators(path)
    np.save(tmp_path / "matrix.npy", np.eye(4)[:2])
    assert read_operators(tmp_path / "matrix.npy").image_shape == (1, 2, 2)
