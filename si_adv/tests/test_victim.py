"""A victim says what it looks at and what it sees."""

import pytest
import torch

from shared_utils import UserError
from si_adv.victim import Victim

NAMES = ["chair", "table", "vase"]


@pytest.fixture
def victim():
    torch.manual_seed(0)
    return Victim("pointnet_small", 3, class_names=NAMES).eval()


def test_it_looks_at_normals_only_where_it_takes_them(victim):
    points, normals = torch.rand(2, 8, 3), torch.rand(2, 8, 3)
    assert torch.equal(victim.input_of(points, normals), points)
    assert victim.input_of(points, normals).shape == (2, 8, 3)
    assert Victim("pointnet_small", 3, with_normals=True).input_of(points, normals).shape == (2, 8, 6)


def test_predictions_are_probabilities_whatever_the_batches(victim):
    clouds = torch.rand(5, 64, 3)
    shares = victim.predict(clouds, batch_size=2)
    torch.testing.assert_close(shares.sum(1), torch.ones(5))
    torch.testing.assert_close(shares, victim.predict(clouds, batch_size=5))


def test_classes_go_by_name_and_number(victim):
    assert victim.class_number("table") == victim.class_number("1") == 1
    for unknown in ("sofa", "3", "-1"):
        with pytest.raises(UserError, match=f"unknown class {unknown}"):
            victim.class_number(unknown)


def test_labels_beyond_its_classes_are_named(victim):
    victim.check_labels(torch.tensor([0, 2]), [*NAMES, "sofa"], "v")
    with pytest.raises(UserError, match=r"v knows 3 classes, the data has a cloud of class 3 \(sofa\)"):
        victim.check_labels(torch.tensor([0, 3]), [*NAMES, "sofa"], "v")
