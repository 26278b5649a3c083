"""The direct tests without matrices: equal to the test on matrices where both can be done, and alone where they cannot."""

import re

import numpy as np
import pytest

from incomplete_sensing.identifiability import (
    FunctionOperators,
    MatrixOperators,
    SelectingOperators,
    ShiftOrbit,
    check_invariant,
    consistent_set,
    orbit,
    random_invariant_subspace,
    real_form,
)
from incomplete_sensing.irreps import Action, named_action
from shared_utils import UserError


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def fourier(shape):
    """The centred unitary Fourier transform as a matrix."""
    sides = (int(np.prod(shape)), *shape)
    images = np.fft.ifftshift(np.eye(sides[0]).reshape(sides), axes=(1, 2))
    return np.fft.fftshift(np.fft.fft2(images, norm="ortho"), axes=(1, 2)).reshape(sides[0], -1).T


def compare(found, expected, exactly=True):
    assert (found.n, found.k, found.stacked_rank) == (expected.n, expected.k, expected.stacked_rank)
    assert found.dimension == expected.dimension and found.recoverable == expected.recoverable
    if exactly and expected.dimension == expected.k:
        assert found.smallest_kept == pytest.approx(expected.smallest_kept, rel=0.05)


def random_masks(rng, G, n, share):
    return rng.random((G, n)) < share


@pytest.mark.parametrize("share", [0.3, 0.5, 0.8])
def test_masks_need_no_matrices(rng, share):
    for _ in range(25):
        n, k, G = int(rng.integers(4, 20)), int(rng.integers(0, 4)), int(rng.integers(1, 7))
        masks = random_masks(rng, G, n, share)
        masks[:, 0] |= ~masks.any(1)
        basis = rng.standard_normal((n, k))
        compare(SelectingOperators(masks, (n,)).test(basis), consistent_set([np.eye(n)[mask] for mask in masks], basis))


@pytest.mark.parametrize("shape", [(4, 4), (3, 5), (4, 5)])
def test_fourier_masks_of_complex_and_of_real_images(rng, shape):
    transform, size = fourier(shape), int(np.prod(shape))
    for k in (0, 1, 3):
        masks = random_masks(rng, 3, size, 0.5)
        rows = [transform[mask] for mask in masks]
        basis = rng.standard_normal((2 * size, k))
        found = SelectingOperators(masks, (2, *shape), fourier=True)
        compare(found.test(basis), consistent_set([real_form(one) for one in rows], basis))
        assert found.counts == [2 * int(mask.sum()) for mask in masks]
        real = SelectingOperators(masks, shape, fourier=True)
        given = [real_form(one, real_signals=True) for one in rows]
        # A coefficient measured at f and at -f counts twice for stability, as given; not for the rest.
        compare(real.test(basis[:size]), consistent_set(given, basis[:size]), exactly=False)
        assert real.counts == [np.linalg.matrix_rank(one) for one in given]


def test_what_is_measured_and_stable_as_given_is_what_the_test_reports(rng):
    """Rows of an operator with condition number 1e6 hide it once they are orthonormal."""
    scales = np.diag(np.geomspace(1, 1e-6, 5))
    operators = [scales @ np.linalg.qr(rng.standard_normal((8, 5)))[0].T for _ in range(3)]
    plain = consistent_set([np.linalg.qr(one.T)[0].T for one in operators], rng.standard_normal((8, 1)))
    found = consistent_set(operators, rng.standard_normal((8, 1)))
    assert plain.identified and plain.smallest_kept > 0.01
    assert found.dimension == found.k and found.smallest_kept < 1e-4


def test_identification_by_a_singular_value_below_the_floor_is_numerically_none(rng):
    first, second = rng.standard_normal((5, 8)), rng.standard_normal((5, 8))
    found = consistent_set([first, first + 1e-8 * second], rng.standard_normal((8, 1)))
    assert found.dimension == found.k and found.numerically_not
    assert not found.identified and found.word == "numerically not identified"


def test_ranks_follow_the_stored_precision(rng):
    """A matrix of rank 14 has 20 singular values above 1e-9 once it is stored in single precision."""
    exact = rng.standard_normal((20, 14)) @ rng.standard_normal((14, 40))
    assert MatrixOperators([exact]).counts == MatrixOperators([exact.astype(np.float32)]).counts == [14]
    # Operators of equal row spaces, each through a mixture of its own, stored in single precision.
    mixed = [(rng.standard_normal((14, 14)) @ exact[:14]).astype(np.float32) for _ in range(4)]
    assert MatrixOperators(mixed).spectrum()[0] == 14
    assert MatrixOperators(mixed).different() == [0]


@pytest.mark.parametrize(("shape", "step"), [((6,), 1), ((4, 3), 1), ((2, 3, 3), 1), ((4, 6), 2), ((2, 4, 4), 2)])
def test_orbits_of_shifts_are_tested_frequency_by_frequency(rng, shape, step):
    action = named_action("shift", shape, step)
    listed = Action(action.elements)
    for k, G in ((0, 1), (1, 2), (3, 2), (4, 1)):
        basis = random_invariant_subspace(action, k, seed=k)
        check_invariant(basis if k == 0 else np.linalg.qr(basis)[0], listed)
        operators = [rng.standard_normal((2 + g, action.n)) for g in range(G)]
        seen = [one for operator in operators for one in orbit(operator, listed)]
        moved = MatrixOperators(operators).moved(action)
        assert isinstance(moved, ShiftOrbit)
        found, expected = moved.test(basis), consistent_set(seen, basis)
        assert (found.dimension, found.stacked_rank) == (expected.dimension, expected.stacked_rank)
        masks = random_masks(rng, G, action.n, 0.6)
        masks[:, 0] = True
        found = SelectingOperators(masks, shape).moved(action).test(basis)
        expected = consistent_set([one for mask in masks for one in orbit(np.eye(action.n)[mask], listed)], basis)
        assert (found.dimension, found.stacked_rank) == (expected.dimension, expected.stacked_rank)
        if expected.dimension == k:
            assert found.smallest_kept == pytest.approx(expected.smallest_kept, rel=1e-6)


@pytest.mark.parametrize("name", ["rot90", "flip", "dihedral", "shift"])
@pytest.mark.parametrize("side", [3, 4])
def test_groups_move_masks_of_pixels_and_of_k_space(rng, name, side):
    """Of k-space too: a turn of the image turns its frequencies, a shift leaves every mask what it is."""
    shape, size = (side, side), side * side
    complex_action = named_action(name, (2, *shape))
    masks = random_masks(rng, 2, size, 0.4)
    masks[:, 0] = True
    rows = [real_form(fourier(shape)[mask]) for mask in masks]
    seen = [one for operator in rows for one in orbit(operator, Action(complex_action.elements))]
    found = SelectingOperators(masks, (2, *shape), fourier=True).moved(complex_action)
    basis = random_invariant_subspace(complex_action, 2)
    expected = consistent_set(seen, basis)
    assert found.test(basis).dimension == expected.dimension
    assert found.spectrum()[0] == expected.stacked_rank
    action = named_action(name, shape)
    pixels = [one for mask in masks for one in orbit(np.eye(size)[mask], Action(action.elements))]
    basis = random_invariant_subspace(action, 2)
    found = SelectingOperators(masks, shape).moved(action).test(basis)
    assert found.dimension == consistent_set(pixels, basis).dimension


def test_channels_stay_in_place_and_the_effective_orbit_counts():
    """Demosaicing: of the 64 shifts of 8x8 pixels in three colours, four make different masks."""
    bayer = np.zeros((3, 8, 8), bool)
    bayer[0, ::2, ::2] = bayer[1, ::2, 1::2] = bayer[1, 1::2, ::2] = bayer[2, 1::2, 1::2] = True
    operators = SelectingOperators(bayer.reshape(1, -1), (3, 8, 8))
    shifts = named_action("shift", (3, 8, 8))
    assert shifts.order == 64 and operators.orbit_sizes(shifts) == [4]
    assert operators.moved(shifts).spectrum() == (192, pytest.approx(np.sqrt(0.5)))
    as_matrix = MatrixOperators([np.eye(192)[bayer.reshape(-1)]])
    assert as_matrix.orbit_sizes(shifts) == [4]
    colours_apart = SelectingOperators(np.concatenate([np.ones(64), np.zeros(128)])[None] > 0, (3, 8, 8))
    assert colours_apart.orbit_sizes(shifts) == [1]
    assert colours_apart.moved(shifts).spectrum()[0] == 64


def test_functions_are_tested_by_conjugate_gradients(rng):
    basis = rng.standard_normal((30, 2))
    enough = [rng.standard_normal((9, 30)) for _ in range(5)]

    def functions(matrices):
        pairs = [(lambda x, a=a: a @ x, lambda y, a=a: a.T @ y) for a in matrices]
        return FunctionOperators(pairs, 30, [len(a) for a in matrices])

    found, expected = functions(enough).test(basis), consistent_set(enough, basis)
    assert found.identified and expected.identified
    assert functions(enough).spectrum()[0] == 30
    # The iterations bound the smallest singular value from above.
    assert expected.smallest_kept <= 1.01 * found.smallest_kept
    few = enough[:3]
    found, expected = functions(few).test(basis), consistent_set(few, basis)
    assert not found.identified and found.word == "not identified"
    assert abs(found.dimension - expected.dimension) <= 4
    assert functions([*enough, 2 * enough[0]]).different() == [0, 1, 2, 3, 4]
    larger = functions(enough)
    larger.limit = 50
    with pytest.raises(UserError, match="5 operators and k = 2 at n = 30 are too large"):
        larger.test(basis)


def test_functions_that_the_iterations_do_not_settle_are_undecided(rng):
    scales = np.geomspace(1, 1e-5, 200)
    operator = scales[:, None] * np.linalg.qr(rng.standard_normal((200, 200)))[0]
    hard = FunctionOperators([(lambda x: operator @ x, lambda y: operator.T @ y)], 200, [200])
    hard.iterations = 20
    found = hard.test(rng.standard_normal((200, 1)))
    assert found.undecided and not found.identified and found.word == "undecided"


def test_large_models_of_masks_go_through_the_iterations(rng, monkeypatch):
    masks, basis = random_masks(rng, 4, 36, 0.6), rng.standard_normal((36, 2))
    both = [SelectingOperators(masks, (36,)), SelectingOperators(masks, (6, 6), fourier=True)]
    exact = [one.test(basis) for one in both]
    # More patterns than fit: the Gram matrix is made from parts, without them.
    monkeypatch.setattr("incomplete_sensing.identifiability.selecting._KEPT", 0)
    for one, expected in zip(both, exact, strict=True):
        compare(one.test(basis), expected)
    monkeypatch.setattr("incomplete_sensing.identifiability.selecting._WORK", 0)
    for one, expected in zip(both, exact, strict=True):
        found = one.test(basis)
        assert (found.identified, found.stacked_rank) == (expected.identified, expected.stacked_rank)


@pytest.mark.parametrize(
    ("shape", "is_fourier"), [((1, 320, 320), False), ((2, 320, 320), True), ((3, 128, 128), False)]
)
def test_images_of_real_size_are_answered(rng, shape, is_fourier):
    n = int(np.prod(shape))
    masks = random_masks(rng, 3, n // 2 if is_fourier else n, 0.6)
    masks[:, 0] = True
    operators = SelectingOperators(masks, shape, is_fourier)
    basis = rng.standard_normal((n, 3))
    unseen = (~masks.any(0)).sum() * (2 if is_fourier else 1)
    found = operators.test(basis)
    assert found.dimension == 3 + unseen and found.stacked_rank == n - unseen
    masks[0] |= ~masks.any(0)
    found = SelectingOperators(masks, shape, is_fourier).test(basis)
    assert found.identified and 0.05 < found.smallest_kept < 1
    shifts = named_action("shift", shape)
    assert SelectingOperators(masks[1:2], shape, is_fourier).orbit_sizes(shifts)[0] == (
        1 if is_fourier else shifts.order
    )


def test_a_basis_that_the_group_does_not_keep_is_refused(rng):
    for shape in ([8], [3, 4]):
        action = named_action("shift", shape)
        with pytest.raises(UserError, match="does not span an invariant model"):
            check_invariant(np.linalg.qr(rng.standard_normal((action.n, 2)))[0], action)


def test_one_tangent_that_is_not_identified_decides_the_verdict():
    """Two lines: masks {0} and {1, 2} identify the first, along one axis, and not the second, along all three."""
    from incomplete_sensing.direct_report import by_direct_tests

    steps = np.linspace(0, 1, 60)[:, None]
    lines = np.concatenate([steps * [1.0, 0, 0], 50 + steps * [1.0, 1, 1]])
    masks = SelectingOperators(np.array([[True, False, False], [False, True, True]]), (3,))
    made = by_direct_tests(masks, 1, signals=lines)
    (told,) = [line for line in made.lines if "tangents of the data" in line]
    passed, total = (int(number) for number in re.search(r"(\d+) of (\d+) identified", told).groups())
    assert 0 < passed < total
    assert made.identified is False and made.lines[-1] == "your operators: not identified"
