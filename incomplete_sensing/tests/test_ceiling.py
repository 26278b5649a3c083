"""What no operator sees of an image, and the PSNR that this leaves."""

import torch

from incomplete_sensing import MRIOperators, OperatorOptions, draw_operators
from incomplete_sensing.ceiling import SeenSpace
from incomplete_sensing.irreps import named_action
from incomplete_sensing.operator_checks import before_training


def images(*shape):
    return torch.randn(3, *shape, generator=torch.Generator().manual_seed(0))


def test_what_is_seen_measures_the_same_and_what_is_not_measures_nothing():
    family = draw_operators(OperatorOptions("gaussian", num_operators=2, num_measurements=6), (1, 4, 4))
    seen, x = SeenSpace.of(family), images(1, 4, 4)
    assert seen is not None and seen.missing == 4
    for g in range(2):
        torch.testing.assert_close(family(seen(x), g), family(x, g), rtol=1e-4, atol=1e-5)
    assert seen(x).norm() < 0.999 * x.norm()
    torch.testing.assert_close(seen(seen(x)), seen(x), rtol=1e-4, atol=1e-5)


def test_masks_see_the_entries_of_any_of_them():
    family = draw_operators(OperatorOptions("mask", num_operators=2, keep=0.3), (3, 8, 8))
    seen, x = SeenSpace.of(family), images(3, 8, 8)
    covered = family.masks.amax(0)
    torch.testing.assert_close(seen(x), covered * x)
    assert seen.missing == 3 * int((covered == 0).sum())
    columns = MRIOperators(torch.eye(8)[[0, 3, 4]], (2, 8, 8))
    seen, x = SeenSpace.of(columns), images(2, 8, 8)
    assert seen.missing == 2 * 5 * 8
    torch.testing.assert_close(seen(x), sum(columns.adjoint(columns(x, g), g) for g in range(3)), rtol=1e-4, atol=1e-5)


def test_a_group_shows_what_one_operator_does_not():
    family = draw_operators(OperatorOptions("gaussian", num_operators=1, num_measurements=5), (1, 4, 4))
    x = images(1, 4, 4)
    assert SeenSpace.of(family).missing == 11
    whole = SeenSpace.of(family, named_action("shift", (1, 4, 4)))
    assert whole.missing == 0 and torch.equal(whole(x), x)
    flipped = SeenSpace.of(family, named_action("flip", (1, 4, 4)))
    assert flipped.missing == 6
    torch.testing.assert_close(flipped(x.flip(-1)), flipped(x).flip(-1), rtol=1e-4, atol=1e-5)


def test_the_ceiling_stands_beside_the_verdict_of_a_training():
    one = draw_operators(OperatorOptions("gaussian", num_operators=1, num_measurements=5), (1, 4, 4))
    many = draw_operators(OperatorOptions("gaussian", num_operators=4, num_measurements=5), (1, 4, 4))
    said = ["\n".join(before_training(family, "moi", 2)[0]) for family in (one, many)]
    assert "ceiling: 11 of n = 16 directions leave no trace" in said[0] and "ceiling: none" in said[1]
    assert "ceiling" not in "\n".join(before_training(one, "sup", 2)[0])
