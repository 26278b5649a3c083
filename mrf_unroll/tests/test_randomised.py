"""Slices of any tissue: physical, reproducible, and wider than any list."""

import numpy as np
import pytest

from mrf_unroll.data.discs import disc_tissues, discs
from mrf_unroll.data.phantoms import TISSUES, Head
from mrf_unroll.data.randomised import averaged, random_head, random_regions, random_slice, random_tissue
from mrf_unroll.data.slices import procedural_slices


@pytest.mark.parametrize("make", [random_head, random_regions, random_slice])
def test_slices_are_physical_and_the_same_from_the_same_seed(make):
    for seed in range(6):
        one, again, other = (make(32, np.random.default_rng(number)) for number in (seed, seed, seed + 100))
        assert np.array_equal(one.maps, again.maps) and not np.array_equal(one.maps, other.maps)
        t1, t2, density = one.maps[:, one.mask]
        assert (t2 < t1).all() and (t2 > 0).all() and t1.max() <= 5.0 and t2.max() <= 1.2 and density.max() < 1.5
        assert (one.maps[:, ~one.mask] == 0).all() and 0.1 < one.mask.mean() < 1


def test_tissue_comes_from_anywhere_in_the_physics():
    rng = np.random.default_rng(0)
    t1, t2, density = np.array([random_tissue(rng) for _ in range(4000)]).T
    assert (t2 <= 0.8 * t1 + 1e-9).all() and t1.min() >= 0.2 and t1.max() <= 4.5
    assert t1.min() < 0.25 and t1.max() > 4.2 and t2.min() < 0.025 and t2.max() > 0.8
    listed = np.array(list(TISSUES.values())[1:])
    near = (
        np.abs(np.log(np.stack([t1, t2], axis=1)[:, None] * 1000 / listed[None, :, :2])).max(axis=2).min(axis=1) < 0.1
    )
    assert near.mean() < 0.3  # a list of tissues would have all of them there
    assert density.min() >= 0.1 and density.max() <= 1


def test_voxels_are_averages_of_the_tissue_inside_them():
    maps, mask = np.zeros((3, 4, 4), np.float32), np.zeros((4, 4), bool)
    maps[:, :2, :2] = np.array([[1.0, 3.0], [1.0, 3.0]])
    mask[:2, :2] = True
    maps[:, 2, 2:] = 5.0  # half of a voxel
    mask[2, 2:] = True
    maps[:, 3, 1] = 7.0  # a quarter
    mask[3, 1] = True
    found = averaged(Head(maps, mask, mask.astype(int)), 2)
    assert found.mask.tolist() == [[True, False], [False, True]]
    assert found.maps[0].tolist() == [[2.0, 0.0], [0.0, 5.0]]
    assert not found.labels[~found.mask].any()


def test_splits_do_not_share_slices():
    train, test = (procedural_slices(split, 2, 24, 0, "randomised") for split in ("train", "test"))
    every = [one.maps for one in (*train, *test)]
    assert not any(np.array_equal(a, b) for i, a in enumerate(every) for b in every[:i])


def test_discs_cover_the_plane_of_t1_and_t2():
    slices = discs(48)
    assert len(slices) == 6 and len(set(disc_tissues())) == len(disc_tissues())
    found = {
        tuple(np.round(one.maps[:2, row, column], 4))
        for one in slices
        for row, column in zip(*np.nonzero(one.mask), strict=True)
    }
    assert set(np.float32(np.round(disc_tissues(), 4)).flatten()) <= {value for pair in found for value in pair}
    for t1, t2 in disc_tissues():
        size = sum(
            int((np.abs(one.maps[:2] - np.array([t1, t2])[:, None, None]).max(axis=0) < 1e-4).sum()) for one in slices
        )
        assert size > 30, (t1, t2, size)
