"""Swaps: whose face is where, the same from the same seed, one by one or in a batch."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from ict_deepfake.procedural import Population
from ict_deepfake.swapping import Recipe, colour, masks, nearest_donor, swap, swap_many, swap_pairs
from ict_deepfake.swapping.pairs import similarities
from ict_deepfake.swapping.recipe import FAMILIES
from shared_utils import UserError


@pytest.fixture(scope="module")
def faces():
    return Population(size=64, cache=None, train=(40, 1)).train()


def flat(value, size=64):
    return np.full((size, size, 3), value, np.uint8)


def test_the_inner_face_is_the_donors_and_the_outer_face_the_targets(faces):
    """Pictures of one colour each: every pixel says whose it is."""
    recipe = Recipe(colours=(1, 0, 0))
    n = 20
    a, b = np.stack([flat(40)] * n), np.stack([flat(200)] * n)
    ba, ab = swap_pairs(a, b, faces.points[:n], faces.points[n : 2 * n], recipe, np.random.default_rng(0))
    rows, inside = np.arange(n), faces.points[:n, 33].round().astype(int)
    assert (ba[rows, inside[:, 1], inside[:, 0]] > 120).mean() > 0.9
    assert (ba[:, :4] == 40).all()
    inside = faces.points[n : 2 * n, 33].round().astype(int)
    assert (ab[rows, inside[:, 1], inside[:, 0]] < 120).mean() > 0.9
    assert (ab[:, :4] == 200).all()


@pytest.mark.parametrize("align", [False, True])
def test_the_same_seed_gives_the_same_swaps(faces, align):
    recipe = Recipe(align=align)

    def made(seed):
        given = faces.images[:20], faces.images[20:], faces.points[:20], faces.points[20:]
        return np.concatenate(swap_pairs(*given, recipe, np.random.default_rng(seed)))

    np.testing.assert_array_equal(made(3), made(3))
    assert (made(3) != made(4)).any()


@pytest.mark.parametrize("points", ["68", "five"])
def test_one_by_one_and_in_a_batch_swaps_are_drawn_alike(faces, points):
    """The same draws give nearly the same weights and pictures; a batch of one draws what ``swap`` draws."""
    recipe = Recipe()
    marks = faces.points if points == "68" else masks.five_points(faces.points)
    differences = []
    for row in range(20):
        given = faces.images[row], faces.images[row + 20], marks[row], marks[row + 20]
        single = swap(*given, recipe, np.random.default_rng(row))
        many, weights = swap_many(*(array[None] for array in given), recipe, np.random.default_rng(row))
        differences.append(
            [np.abs(single.mask - weights[0]).mean(), np.abs(single.image.astype(float) - many[0]).mean()]
        )
    assert np.mean(differences, axis=0) == pytest.approx([0, 0], abs=1.5)
    assert np.mean(differences, axis=0)[0] < 0.03


def test_a_swap_reports_what_was_drawn(faces):
    recipe = Recipe(families=(0, 0, 0, 0, 0, 1, 0), colours=(0, 1, 0), blends=(0, 0, 0, 1))
    made = swap(*faces.images[:2], *faces.points[:2], recipe, np.random.default_rng(0))
    assert (made.facts["family"], made.facts["colour"], made.facts["blend"]) == ("ellipse", "mean", "poisson")
    assert made.facts["share"] == pytest.approx(made.mask.mean(), abs=1e-3)
    assert made.image.dtype == np.uint8
    assert (made.image != faces.images[0]).any()


def test_every_family_is_drawn_and_masks_stay_within_their_limits(faces):
    rng = np.random.default_rng(0)
    found = [swap(*faces.images[:2], *faces.points[:2], Recipe(), rng).facts for _ in range(80)]
    assert {facts["family"] for facts in found} == set(FAMILIES)
    assert all(0 < facts["share"] <= 0.8 for facts in found)
    # Wild recipes end in a plain mask instead of an empty one.
    wild = Recipe(deformation=(2, 2), erode=181)
    assert all(0 < swap(*faces.images[:2], *faces.points[:2], wild, rng).facts["share"] <= 0.8 for _ in range(10))
    _, weights = swap_many(faces.images[:20], faces.images[20:], faces.points[:20], faces.points[20:], wild, rng)
    assert (weights > 0).any(axis=(1, 2)).all()


def test_alignment_moves_the_donors_points_onto_the_targets(faces):
    five = masks.five_points(faces.points)
    matrices = similarities(five[20:], five[:20])
    moved = five[20:] @ matrices[:, :, :2].transpose(0, 2, 1) + matrices[:, None, :, 2]
    before, after = (np.linalg.norm(p - five[:20], axis=2).mean() for p in (five[20:], moved))
    assert after < 0.5 * before
    angle, scale = 0.3, 1.4
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    exact = similarities(five[:3], five[:3] @ turn.T + [3.0, -2.0])
    np.testing.assert_allclose(exact, np.tile(np.c_[turn, [3.0, -2.0]], (3, 1, 1)), atol=1e-3)


def test_colour_corrections_move_the_donor_towards_the_target():
    rng = np.random.default_rng(0)
    target = np.clip(rng.normal([150, 110, 90], 25, (30, 30, 3)), 0, 255).astype(np.uint8)
    donor = np.clip(rng.normal([90, 120, 140], 12, (30, 30, 3)), 0, 255).astype(np.uint8)
    mask = np.zeros((30, 30), np.float32)
    mask[5:25, 5:25] = 1
    inside = mask > 0
    moved = colour.moved_mean(donor, target, mask)
    np.testing.assert_allclose(moved[inside].mean(0), target[inside].mean(0), atol=1)
    np.testing.assert_array_equal(moved[~inside], donor[~inside])
    pictures = [picture[None].astype(np.float32) for picture in (donor, target)]
    shift = colour.mean_shifts(*pictures, mask[None])[0]
    np.testing.assert_allclose(shift, target[inside].mean(0) - donor[inside].mean(0), atol=1e-3)
    made = colour.reinhard(*pictures, mask[None])[0].astype(np.uint8)
    lab = [cv2.cvtColor(picture, cv2.COLOR_RGB2LAB)[inside] for picture in (made, target)]
    np.testing.assert_allclose(lab[0].mean(0), lab[1].mean(0), atol=2)
    np.testing.assert_allclose(lab[0].std(0), lab[1].std(0), rtol=0.1)


def test_the_nearest_allowed_candidate_is_taken(faces):
    rng = np.random.default_rng(0)
    five = masks.five_points(faces.points)
    distance = np.linalg.norm(five[:, None] - five[None], axis=3).sum(2)
    allowed = ~np.eye(40, dtype=bool)
    found = nearest_donor(faces.points, faces.points, rng, count=2000, allowed=allowed)
    np.testing.assert_array_equal(found, np.where(allowed, distance, np.inf).argmin(1))
    few = nearest_donor(faces.points, faces.points, rng, count=8, allowed=allowed)
    assert distance[np.arange(40), few].mean() < distance[allowed].mean()
    assert nearest_donor(five[0], five, rng, count=2000) == 0
    only = np.zeros(40, bool)
    only[7] = True
    assert nearest_donor(five[0], five, rng, count=1, allowed=only) == 7
    with pytest.raises(ValueError, match="no candidate"):
        nearest_donor(five[0], five, rng, allowed=np.zeros(40, bool))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"families": (1, 1)}, "families takes 7 weights"),
        ({"blends": (0, 0, 0, 0)}, "not all 0"),
        ({"erode": 0}, "kernel is 1 or more"),
    ],
)
def test_a_recipe_that_cannot_be_drawn_is_refused(change, message):
    with pytest.raises(UserError, match=message):
        replace(Recipe(), **change)


def test_five_points_with_hulls_only_are_refused(faces):
    recipe, five = Recipe(families=(1, 1, 1, 1, 0, 0, 0)), masks.five_points(faces.points)
    with pytest.raises(UserError, match="with five points"):
        swap(*faces.images[:2], *five[:2], recipe, np.random.default_rng(0))


def test_a_recipe_survives_as_plain_values():
    plain = Recipe(erode=5).as_dict()
    assert Recipe(**{k: tuple(v) if isinstance(v, list) else v for k, v in plain.items()}) == Recipe(erode=5)
