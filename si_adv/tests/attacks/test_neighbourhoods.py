"""The neighbourhood that an attack takes its normals from, and the one that it is measured by."""

import pytest

from shared_utils import UserError
from si_adv import metrics
from si_adv.attacks import NormalIFGM, ShapeInvariantIFGM, budgets
from si_adv.geometry import estimate_normals


def test_normals_are_of_the_neighbourhood_that_was_asked_for(victim, clouds, labels):
    """Flat boxes: the first step lies in the planes of that many neighbours, and of no other number."""
    points, _ = clouds
    for neighbours, other in ((6, 20), (20, 6)):
        attack = ShapeInvariantIFGM(victim, step_size=1e-3, steps=1, eps=None, normal_neighbours=neighbours)
        moved = attack(points, labels) - points
        own, others = ((moved * estimate_normals(points, k)).sum(-1).abs().max() for k in (neighbours, other))
        assert own < 1e-6 < 1e-4 < others
    with pytest.raises(UserError, match="normal_neighbours must be at least 3"):
        ShapeInvariantIFGM(victim, normal_neighbours=2)


def test_the_control_moves_along_the_normals_alone(victim, clouds, labels):
    points, _ = clouds
    attack = NormalIFGM(victim, step_size=1e-3, steps=1, eps=None)
    moved, normals = attack(points, labels) - points, estimate_normals(points, attack.normal_neighbours)
    across = moved - (moved * normals).sum(-1, keepdim=True) * normals
    assert across.abs().max() < 1e-6 < 1e-4 < moved.abs().max()


def test_an_attack_along_the_normals_that_it_is_measured_by_is_refused(victim):
    made = budgets.makers(["si_ifgm"], {}, {"si_ifgm": {"normal_neighbours": metrics.MEASURED_NEIGHBOURS}})
    with pytest.raises(UserError, match="si_ifgm would move along the normals that surface is measured by"):
        budgets.check(made, [victim])
    budgets.check(budgets.makers(["si_ifgm", "ifgm"], {}, {}), [victim])
