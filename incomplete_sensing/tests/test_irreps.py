"""Irreps of finite groups, from their matrices."""

import numpy as np
import pytest

from incomplete_sensing.irreps import Action, check_group, irreps, named_action
from incomplete_sensing.transforms import build_transform
from shared_utils import UserError


def decomposition(name, shape, step=1):
    found = irreps(named_action(name, shape, step))
    return list(zip(found.dimensions, found.multiplicities, strict=True))


def test_quarter_turns_and_dihedral_group():
    assert decomposition("rot90", [5, 5]) == [(1, 7), (1, 6), (1, 6), (1, 6)]
    assert decomposition("dihedral", [4, 4]) == [(2, 4), (1, 3), (1, 3), (1, 1), (1, 1)]


def test_large_images_go_through_the_regular_representation():
    # Multiplicities of the flip: half the entries each; of quarter turns: by counting fixed pixels.
    assert decomposition("flip", [60, 80]) == [(1, 2400), (1, 2400)]
    assert decomposition("rot90", [61, 61]) == [(1, 931), (1, 930), (1, 930), (1, 930)]


def test_both_ways_of_decomposing_agree():
    small, large = named_action("dihedral", [2, 2]), named_action("dihedral", [6, 6])
    assert small.n < small.order < large.n
    assert decomposition("dihedral", [2, 2]) == [(2, 1), (1, 1), (1, 1)]
    assert decomposition("dihedral", [6, 6]) == [(2, 9), (1, 6), (1, 6), (1, 3), (1, 3)]


def test_a_change_of_basis_changes_nothing():
    action = named_action("dihedral", [3, 3])
    turn = np.linalg.qr(np.random.default_rng(0).standard_normal((9, 9)))[0]
    matrices = np.stack([turn @ np.eye(9)[element] @ turn.T for element in action.elements])
    assert irreps(Action(matrices)) == irreps(action)


def test_repeated_operations_count_once():
    action = named_action("rot90", [3, 3])
    assert irreps(Action(np.concatenate([action.elements, action.elements]))) == irreps(action)


def test_cyclic_groups_are_told_from_others():
    assert irreps(named_action("shift", [12], 3)).cyclic
    assert irreps(named_action("shift", [3, 4])).cyclic  # 3 and 4 have no common divisor
    assert not irreps(named_action("shift", [4, 4])).cyclic
    assert not irreps(named_action("dihedral", [4, 4])).cyclic


@pytest.mark.parametrize("name", ["shift", "rot90", "flip", "dihedral"])
def test_groups_are_those_that_training_uses(name):
    ours = {tuple(element) for element in named_action(name, [4, 4]).elements}
    assert ours == {tuple(element) for element in build_transform(name).permutations((1, 4, 4)).tolist()}


@pytest.mark.parametrize(
    ("elements", "message"),
    [
        (np.array([[0, 1, 2], [1, 2, 0]]), "not a group"),
        (np.array([[0, 1, 2], [0, 0, 1]]), "not a permutation"),
        (np.stack([np.eye(2), 2 * np.eye(2)]), "not orthogonal"),
    ],
)
def test_what_is_no_group_is_refused(elements, message):
    with pytest.raises(UserError, match=message):
        check_group(Action(elements))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("rot90", [3, 4]), "square"),
        (("shift", [10], 3), "do not close"),
        (("spin", [4, 4]), "unknown group spin"),
        (("flip", [4]), "acts on images"),
    ],
)
def test_groups_that_do_not_fit_are_named(arguments, message):
    with pytest.raises(UserError, match=message):
        named_action(*arguments)
