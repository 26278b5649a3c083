import pytest
import torch

from incomplete_sensing.transforms import GROUPS, Rotation, Shift, build_transform, rotate
from shared_utils import UserError

every_group = pytest.mark.parametrize("group", list(GROUPS.values()), ids=list(GROUPS))


@every_group
def test_matrices_act_as_the_group_does(group):
    x = torch.randn(2, 4, 4)
    for element, matrix in zip(group.elements((2, 4, 4)), group.matrices((2, 4, 4)), strict=True):
        assert torch.equal(matrix @ x.flatten().double(), group.act(x, element).flatten().double())


@every_group
def test_elements_are_a_group_with_the_identity_first(group):
    rows = [tuple(row) for row in group.permutations((1, 3, 3)).tolist()]
    assert rows[0] == tuple(range(9))
    assert len(set(rows)) == len(rows)
    assert {tuple(first[place] for place in second) for first in rows for second in rows} == set(rows)


@every_group
def test_draws_are_different_elements_other_than_the_identity(group):
    count = min(3, len(group.elements((1, 5, 5))) - 1)
    drawn = group.draw(count, (1, 5, 5), torch.Generator().manual_seed(0))
    assert len(set(drawn)) == count
    x = torch.randn(1, 1, 5, 5)
    assert not any(torch.equal(group.act(x, element), x) for element in drawn)


def test_copies_are_stacked_copy_by_copy():
    x = torch.randn(3, 1, 4, 5)
    copies = Shift().apply(x, [(1, 0), (0, -2)])
    assert torch.equal(copies[:3], torch.roll(x, 1, -2))
    assert torch.equal(copies[3:], torch.roll(x, -2, -1))


def test_shifts_are_drawn_without_replacement_per_axis():
    drawn = Shift().draw(4, (1, 5, 6), torch.Generator().manual_seed(0))
    rows, columns = zip(*drawn, strict=True)
    assert len(set(rows)) == len(set(columns)) == 4
    assert 0 not in rows + columns
    assert max(map(abs, rows)) <= 4 and max(map(abs, columns)) <= 5


def test_rotation_is_counter_clockwise_and_its_quarter_turns_are_exact():
    x = torch.rand(1, 1, 7, 7)
    assert torch.equal(rotate(x, 90), torch.rot90(x, 1, (-2, -1)))
    assert torch.equal(rotate(x, -180), torch.rot90(x, 2, (-2, -1)))
    smooth = torch.zeros(1, 1, 31, 31)
    smooth[..., 15, 25] = 1  # to the right of the centre
    turned = rotate(torch.nn.functional.avg_pool2d(smooth, 5, 1, 2), 60)
    place = turned.flatten().argmax()
    assert place // 31 < 10 and 17 < place % 31 < 23  # up, and a little right


def test_nearest_rotation_takes_values_of_the_image_only():
    x = torch.rand(1, 1, 6, 8)
    assert set(rotate(x, 33, "nearest").flatten().tolist()) <= {0.0, *x.flatten().tolist()}
    assert len(Rotation("nearest").apply(x, [10, 20])) == 2


def test_what_cannot_be_is_said():
    with pytest.raises(UserError, match="unknown transform 'zoom'; known: shift"):
        build_transform("zoom")
    with pytest.raises(UserError, match="square images, these are 4 x 5"):
        GROUPS["rot90"].elements((1, 4, 5))
    with pytest.raises(UserError, match="at most 3"):
        Shift().draw(4, (1, 4, 4))
    with pytest.raises(UserError, match="has 1 beside the identity"):
        GROUPS["flip"].draw(2, (1, 4, 4))
