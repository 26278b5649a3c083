"""Which clouds are attacked, and what names them."""

import dataclasses

import numpy as np
import pytest
import torch

from shared_utils import UserError
from si_adv.evaluation.clouds import batches, choose, load_clouds, target_labels


def test_clouds_are_drawn_class_by_class():
    labels = np.repeat([0, 1, 2], [50, 5, 10])
    chosen = choose(labels, 9, seed=0)
    assert len(set(chosen)) == 9
    assert [labels[chosen[i : i + 3]].tolist() for i in (0, 3, 6)] and set(labels[chosen[:3]]) == {0, 1, 2}
    assert np.bincount(labels[chosen]).tolist() == [3, 3, 3]
    assert choose(labels, 9, seed=0) == chosen != choose(labels, 9, seed=1)
    assert choose(labels, None, seed=0) == list(range(65))


def test_batches_cover_everything_once():
    covered = [row for rows in batches(10, 4) for row in range(10)[rows]]
    assert covered == list(range(10))


def test_a_limit_below_one_is_refused():
    with pytest.raises(UserError, match="limit is a number of clouds, at least 1"):
        choose([0, 1], 0, seed=0)


def test_the_digest_follows_the_clouds():
    first = load_clouds(None, num_points=32, limit=4)
    assert first.digest() == load_clouds(None, num_points=32, limit=4).digest()
    assert first.digest() != load_clouds(None, num_points=32, limit=4, seed=1).digest()
    moved = dataclasses.replace(first, points=first.points + 1e-6)
    assert moved.digest() != first.digest()


def test_targets_by_name_number_and_next():
    clouds = load_clouds(None, num_points=32, limit=3)
    assert torch.equal(target_labels(None, clouds, 10), clouds.labels)
    assert torch.equal(target_labels("next", clouds, 10), (clouds.labels + 1) % 10)
    assert target_labels("chair", clouds, 10).tolist() == target_labels("3", clouds, 10).tolist() == [3, 3, 3]
    with pytest.raises(UserError, match="unknown target class spaceship"):
        target_labels("spaceship", clouds, 10)
