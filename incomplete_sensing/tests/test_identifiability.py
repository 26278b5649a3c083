"""The conditions, the exact linear results, and the direct test on given operators."""

import math

import numpy as np
import pytest
import torch

from incomplete_sensing.identifiability import (
    assess,
    consistent_set,
    different_operators,
    equivariance_defect,
    equivariance_warning,
    invariant_consistent_dimension,
    local_tests,
    orbit,
    random_invariant_subspace,
    real_form,
    smallest_operators,
    smallest_rows,
    splitting_coverage,
    stacked_rank,
    subspace_consistent_dimension,
    subspace_operators,
    subspace_rows,
)
from incomplete_sensing.irreps import irreps, named_action
from incomplete_sensing.transforms import build_transform
from shared_utils import UserError


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def masks_of(rng, n, m, G):
    return [np.eye(n)[rng.permutation(n)[:m]] for _ in range(G)]


@pytest.mark.parametrize(
    ("m", "G", "expected"),
    [
        (100, 40, {"C1": (19.6, True), "C2": (31.6, True), "C3": (24, True)}),
        (24, 40, {"C1": (19.6, True), "C2": (31.6, False), "C3": (24, False)}),
        (100, 1, {"C1": (784, False), "C2": (796, False), "C3": (24, True)}),
    ],
)
def test_conditions_of_mnist(m, G, expected):
    found = assess(784, m, G, 12)
    assert {name: (found[name].bound, found[name].holds) for name in expected} == expected
    assert found.identified is {(100, 40): True, (24, 40): None, (100, 1): False}[m, G]


def test_advice_says_what_is_missing():
    advice = " ".join(assess(784, 24, 40, 12).advice)
    assert "26 more operators (G >= 66), or m >= 32 (8 more rows each)" in advice
    assert "No number of operators is enough while m <= k" in " ".join(assess(784, 12, 40, 12).advice)
    assert "Smallest G for m = 100: 9; smallest m for G = 40: 32" in " ".join(assess(784, 100, 40, 12).advice)


@pytest.mark.parametrize("k", [0, 1, 2.5, 7, 12])
@pytest.mark.parametrize("m", [3, 8, 13, 20])
def test_smallest_numbers_are_where_c2_begins_to_hold(k, m):
    n = 40
    fewest = smallest_operators(n, k, m)
    if m <= k:
        assert fewest is None
    else:
        assert assess(n, m, fewest, k)["C2"].holds
        assert fewest == 1 or not assess(n, m, fewest - 1, k)["C2"].holds
    for G in (1, 3, 7):
        least = smallest_rows(n, k, G)
        if least is None:
            assert not assess(n, n, G, k)["C2"].holds
        else:
            assert assess(n, least, G, k)["C2"].holds
            assert least == 1 or not assess(n, least - 1, G, k)["C2"].holds


@pytest.mark.parametrize("k", [0, 1, 3])
def test_smallest_numbers_of_a_subspace_are_where_it_is_identified(k):
    n = 12
    for G in (1, 2, 5, 30):
        least = subspace_rows(n, k, G)
        assert subspace_consistent_dimension(n, k, least, G) == k
        assert least == 1 or subspace_consistent_dimension(n, k, least - 1, G) > k
    for m in range(1, n):
        fewest = subspace_operators(n, k, m)
        assert fewest is None if m <= k else subspace_consistent_dimension(n, k, m, fewest) == k
        assert fewest in (None, 1) or subspace_consistent_dimension(n, k, m, fewest - 1) > k


def test_direct_test_equals_the_closed_formula_on_random_gaussian_operators(rng):
    identified = 0
    for _ in range(200):
        n = int(rng.integers(3, 13))
        k, G = int(rng.integers(0, n)), int(rng.integers(1, 6))
        rows = rng.integers(1, n + 1, size=G).tolist()
        operators = [rng.standard_normal((m, n)) for m in rows]
        found = consistent_set(operators, rng.standard_normal((n, k)))
        assert found.dimension == subspace_consistent_dimension(n, k, rows)
        assert found.stacked_rank == min(n, sum(rows))
        assert found.identified == (found.dimension == k)
        identified += found.identified
    assert 50 < identified < 150


def test_masks_disagree_with_c2_in_both_directions(rng):
    """The theorem is for almost every operator: random masks fail above its bound, and chosen ones pass below it."""
    n, k = 20, 2
    basis = rng.standard_normal((n, k))
    above = [consistent_set(masks_of(rng, n, 10, 3), basis).identified for _ in range(40)]
    assert assess(n, 10, 3, k)["C2"].holds
    assert 0 <= sum(above) < 10
    # Every mask shares k entries with the next: a chain of 3-entry masks, at the exact bound, below C2's.
    chain = [np.eye(n)[[g, g + 1, g + 2]] for g in range(n - 2)]
    assert not assess(n, 3, n - 2, k)["C2"].holds
    assert consistent_set(chain, basis).identified


def test_direct_test_does_not_depend_on_scales_or_zero_rows(rng):
    operators = [rng.standard_normal((4, 10)) for _ in range(4)]
    basis = rng.standard_normal((10, 2))
    plain = consistent_set(operators, basis)
    scaled = [np.vstack([1e-7 * operators[0], np.zeros((2, 10))]), 1e6 * operators[1], *operators[2:]]
    other = consistent_set(scaled, basis @ rng.standard_normal((2, 3)))
    assert (
        (other.dimension, other.k, other.stacked_rank) == (plain.dimension, plain.k, plain.stacked_rank) == (2, 2, 10)
    )
    assert other.smallest_kept == pytest.approx(plain.smallest_kept)


def test_singular_value_gap_tells_how_stable_identification_is(rng):
    n, basis = 8, rng.standard_normal((8, 1))
    first, second = rng.standard_normal((5, n)), rng.standard_normal((5, n))
    good = consistent_set([first, second], basis)
    nearly_equal = consistent_set([first, first + 1e-5 * second], basis)
    assert good.identified and nearly_equal.identified
    assert nearly_equal.smallest_kept < 1e-4 < good.smallest_kept
    assert nearly_equal.largest_dropped < 1e-12


def test_direct_test_of_special_sizes(rng):
    square = consistent_set([rng.standard_normal((6, 6))], rng.standard_normal((6, 2)))
    assert square.identified and square.recoverable == (True,)
    zero = consistent_set([rng.standard_normal((3, 6)) for _ in range(2)], np.zeros((6, 1)))
    assert (zero.k, zero.dimension) == (0, 0)
    blind = consistent_set([rng.standard_normal((1, 6)) for _ in range(9)], rng.standard_normal((6, 2)))
    assert blind.dimension == 6 and not any(blind.recoverable)
    with pytest.raises(ValueError, match=r"operator 1 has shape \(3, 5\)"):
        consistent_set([np.ones((3, 6)), np.ones((3, 5))], np.ones((6, 1)))


def test_tall_stacks_are_folded_without_changing_the_rank(rng):
    operators = [rng.standard_normal((3, 7)) @ np.diag([1, 1, 1, 1, 1, 0, 0]) for _ in range(40)]
    assert stacked_rank(operators) == 5
    assert consistent_set(operators, np.eye(7)[:, :1]).dimension == 3


def test_conditions_of_special_numbers():
    assert assess(10, 10, 1, 2).identified is True
    assert assess(10, 10, 1, 2).recoverable
    assert assess(10, 6, 2, 0)["C2"].bound == 5
    assert assess(10, 6, 2, 0).identified is True
    mixed = assess(10, [8, 8, 1], None, 2)
    # Row counts that differ (C8): the operator with m <= k neither helps nor harms.
    assert mixed.identified is True and mixed["C8"].bound == 14 and mixed["C8"].here == 16
    assert mixed["linear"].here == 12


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((10, 11, 2, 3), "m = 11 with n = 10"),
        ((10, 0, 2, 3), "m = 0 with n = 10"),
        ((10, 5, 0, 3), "G = 0"),
        ((10, 5, 2, 10), "k = 10 with n = 10"),
        ((10, 5, 2, -1), "k = -1"),
        ((10, [5, 5], 3, 1), "G = 3, but 2 row counts"),
    ],
)
def test_impossible_numbers_are_named(arguments, message):
    with pytest.raises(UserError, match=message):
        assess(*arguments)


def test_repeated_operators_are_found_by_what_they_see(rng):
    first, second = rng.standard_normal((2, 3, 8))
    mixed = rng.standard_normal((3, 3)) @ first
    assert different_operators([first, second, mixed, 2 * second, first]) == [0, 1]


def test_complex_operators_over_the_reals(rng):
    operator = rng.standard_normal((3, 5)) + 1j * rng.standard_normal((3, 5))
    signal = rng.standard_normal(5) + 1j * rng.standard_normal(5)
    measured = real_form(operator) @ np.concatenate([signal.real, signal.imag])
    np.testing.assert_allclose(measured[:3] + 1j * measured[3:], operator @ signal)
    measured = real_form(operator, real_signals=True) @ signal.real
    np.testing.assert_allclose(measured[:3] + 1j * measured[3:], operator @ signal.real)
    # The complex test and the one over the reals agree, with dimensions counted twice.
    operators = rng.standard_normal((4, 3, 6)) + 1j * rng.standard_normal((4, 3, 6))
    basis = rng.standard_normal((6, 1)) + 1j * rng.standard_normal((6, 1))
    complex_test = consistent_set(list(operators), basis)
    real_test = consistent_set([real_form(one) for one in operators], real_form(basis))
    assert real_test.dimension == 2 * complex_test.dimension == 2


def test_tangents_of_a_curved_model(rng):
    latent = rng.uniform(-1, 1, (400, 2))
    samples = np.stack([latent[:, 0], latent[:, 1], *(latent.T**2), latent[:, 0] * latent[:, 1]], axis=1)
    enough = [rng.standard_normal((4, 5)) for _ in range(2)]
    few = [rng.standard_normal((3, 5)) for _ in range(2)]
    assert all(test.identified for test in local_tests(enough, samples, 2))
    assert not any(test.identified for test in local_tests(few, samples, 2))
    with pytest.raises(UserError, match="too few for tangents"):
        local_tests(enough, samples[:5], 2)


# Groups -----------------------------------------------------------------------------------------------------------


def test_group_conditions_use_multiplicities_not_n_over_order():
    turns = irreps(named_action("rot90", [5, 5]))
    found = assess(25, 6, 1, 1, turns)
    assert found["C4"].bound == 7 > 25 / 4
    assert found.identified is False
    assert assess(25, 11, 1, 1, turns)["C6"].bound == 10
    assert assess(25, 11, 1, 1, turns).identified is True
    dihedral = irreps(named_action("dihedral", [4, 4]))
    assert assess(16, 5, 1, 1, dihedral).identified is None
    # A model that is invariant to the dihedral group is so to its quarter turns, four cycles of four pixels.
    assert assess(16, 8, 1, 1, dihedral)["C6"].bound == 2 * 1 + 4 + 1
    assert assess(16, 8, 1, 1, dihedral).identified is True


def test_a_group_takes_the_cyclic_subgroup_that_asks_for_least():
    shifts = irreps(named_action("shift", [28, 28]))
    assert (shifts.cyclic_order, shifts.cyclic_multiplicity) == (28, 28)
    # m > 2k + 29.
    assert assess(784, 53, 1, 12, shifts).identified is None
    assert assess(784, 54, 1, 12, shifts).identified is True
    sides_without_common_divisor = irreps(named_action("shift", [27, 28]))
    assert sides_without_common_divisor.cyclic_multiplicity == 1


def test_rows_of_several_operators_count_together_along_their_orbits(rng):
    """C1 alone said "by no method" where two operators of one row, turned, see all four dimensions."""
    action = named_action("rot90", [2, 2])
    found = irreps(action)
    operators = [rng.standard_normal((1, 4)) for _ in range(2)]
    assert assess(4, 1, 2, 0)["C1"].holds is False
    together = assess(4, 1, 2, 0, found)
    assert together["C4"].holds and together.identified is None
    assert stacked_rank([one for operator in operators for one in orbit(operator, action)]) == found.orbit_rank(2) == 4


@pytest.mark.parametrize(
    ("name", "shape"), [("rot90", [4, 4]), ("dihedral", [4, 4]), ("shift", [12]), ("flip", [3, 4])]
)
def test_the_linear_condition_of_a_group_is_never_wrong(rng, name, shape):
    """Where sum (m_g - k)_+ >= max c_j/s_j, every invariant subspace of dimension k is identified by generic operators."""
    action = named_action(name, shape)
    found, met = irreps(action), 0
    for trial in range(60):
        k, G = int(rng.integers(0, 5)), int(rng.integers(1, 4))
        rows = rng.integers(1, 9, size=G).tolist()
        basis = random_invariant_subspace(action, k, trial)
        operators = [rng.standard_normal((m, action.n)) for m in rows]
        seen = [one for operator in operators for one in orbit(operator, action)]
        tested = consistent_set(seen, basis)
        theory = assess(action.n, rows, None, k, found)
        if theory["linear"].holds:
            met += 1
            assert tested.identified
        if theory["C4"].holds is False:
            assert tested.stacked_rank < action.n
    assert met > 10


@pytest.mark.parametrize("k", [2.4, 0.1, 12.6])
def test_a_dimension_that_is_not_whole_is_taken_as_written(k):
    """2.4 + 8/5 is 4, not the binary fraction just below it: m = 4 is not above it."""
    n, G = {2.4: (8, 5), 0.1: (9, 10), 12.6: (72, 5)}[k]
    m = round(k + n / G)
    assert not assess(n, min(m, n), G, k)["C2"].holds
    assert smallest_rows(n, k, G) in (m + 1, None)


def test_any_number_of_operators_is_answered_at_once():
    found = assess(784, 13, 10**8, 12)
    assert found.identified is True and found["C1"].bound == pytest.approx(784e-8)
    assert subspace_consistent_dimension(784, 12, 13, 10**8) == 12


@pytest.mark.parametrize(
    ("name", "shape"), [("rot90", [3, 3]), ("dihedral", [4, 4]), ("flip", [3, 4]), ("shift", [2, 3])]
)
def test_generic_orbit_rank(rng, name, shape):
    action = named_action(name, shape)
    found = irreps(action)
    for m in range(1, 5):
        assert stacked_rank(orbit(rng.standard_normal((m, action.n)), action)) == found.orbit_rank(m)


def test_invariant_subspace_under_one_generic_operator(rng):
    """dim X^ of {0}, of the constants, and of the symmetric images, against the direct test on the orbit."""
    action = named_action("flip", [2, 4])
    found = irreps(action)
    symmetric = np.eye(8) + np.eye(8)[action.elements[1]]
    models = {(0, 0): np.zeros((8, 0)), (1, 0): symmetric[:, :1], (3, 0): symmetric[:, [0, 1, 4]]}
    for inside, basis in models.items():
        for m in range(1, 8):
            direct = consistent_set(orbit(rng.standard_normal((m, 8)), action), basis).dimension
            assert direct == invariant_consistent_dimension(found, inside, m)


def test_equivariant_operators_are_warned_about():
    transform = build_transform("shift")
    images = torch.randn(1, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    shifts = [lambda x, e=e: transform.act(x, e) for e in transform.elements((1, 6, 6))[1:]]
    keep = torch.fft.fftfreq(6).abs() < 0.3

    def blur(x):
        return torch.fft.ifft(torch.fft.fft(x) * keep).real

    mask = (torch.arange(36).reshape(6, 6) % 3 > 0).float()
    blurred = equivariance_defect(blur, blur, shifts, [images])
    masked = equivariance_defect(lambda x: mask * x, lambda y: mask * y, shifts, [images])
    assert "adds nothing" in equivariance_warning(blurred)
    assert equivariance_warning(masked) is None and masked > 0.1
    # Masks and pointwise changes of sign commute.
    signs = [lambda x: -x]
    assert equivariance_defect(lambda x: mask * x, lambda y: mask * y, signs, [images]) == 0


def test_splitting_needs_operators_that_cover_what_an_input_lacks():
    assert splitting_coverage(np.ones((1, 6))) == 1
    assert splitting_coverage(np.array([[1, 1, 1, 0], [1, 1, 0, 1]]), keep=0.5) < 1
    # An input of nothing may come from any mask; one of everything observed tells which mask it was.
    assert splitting_coverage(np.array([[1, 1, 1, 0], [1, 1, 0, 1]]), keep=0.0) == 1
    assert splitting_coverage(np.array([[1, 1, 1, 0], [1, 1, 0, 1]]), keep=1.0) == 0
    assert math.isclose(
        splitting_coverage(np.array([[1, 1, 1, 0], [1, 1, 0, 1]]), keep=0.5, draws=4000), 0.5, abs_tol=0.03
    )
