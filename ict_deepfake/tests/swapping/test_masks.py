"""Masks: what each family covers, and that the fast regions are the drawn masks."""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from ict_deepfake.procedural import Population
from ict_deepfake.swapping import Recipe, blending, masks, regions
from ict_deepfake.swapping.recipe import BLENDS, draw

SHARED = Path(__file__).parents[4] / "shared/data/ict_deepfake"
SIZE = (160, 160)
STILL = Recipe(deformation=(0, 0), erode=1, dilate=1, blends=(1, 0, 0, 0))


@pytest.fixture(scope="module")
def faces():
    return Population(size=160, cache=None, train=(6, 1)).train()


def overlap(a, b):
    return np.logical_and(a, b).sum() / np.logical_or(a, b).sum()


@pytest.mark.parametrize("family", masks.FAMILIES)
def test_a_mask_covers_nose_and_mouth_and_leaves_the_hair(faces, family):
    for points in faces.points:
        mask = masks.build(family, points, SIZE)
        inside = [mask[y, x] for x, y in points[[30, 33, 51, 39, 42]].astype(int)]
        assert all(inside)
        assert not mask[:8].any()
        assert 0.05 < mask.mean() < 0.5


def test_the_extended_mask_reaches_higher_than_the_components(faces):
    for points in faces.points:
        tops = [np.flatnonzero(masks.build(name, points, SIZE).any(1))[0] for name in ("extended", "components")]
        assert tops[0] < tops[1]


def test_five_points_serve_boxes_and_no_hull(faces):
    five = masks.five_points(faces.points)[0]
    for family in masks.OF_FIVE_POINTS:
        np.testing.assert_array_equal(
            masks.build(family, five, SIZE), masks.build(family, faces.points[0].astype(float), SIZE)
        )
    with pytest.raises(ValueError, match="takes 68 points"):
        masks.build("hull", five, SIZE)


@pytest.mark.parametrize("family", range(len(masks.FAMILIES)))
def test_regions_of_lines_are_the_drawn_masks(faces, family):
    recipe = replace(STILL, families=tuple(np.eye(7)[family]))
    draws = draw(len(faces), recipe, False, np.random.default_rng(0))
    fast = regions.weights(faces.points.astype(float), draws, recipe, SIZE) > 0.5
    for row, points in enumerate(faces.points):
        assert overlap(masks.build(family, points, SIZE, draws.box[row]), fast[row]) > 0.93


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared photographs are not here")
def test_regions_of_lines_are_the_drawn_masks_of_photographs():
    known = json.loads((SHARED / "celebrities/dlib68.json").read_text())
    points = np.array(list(known.values()), float)
    points -= points.min(1, keepdims=True)
    points *= 120 / points.max((1, 2), keepdims=True)
    points += 20
    for family in range(4):
        recipe = replace(STILL, families=tuple(np.eye(7)[family]))
        draws = draw(len(points), recipe, False, np.random.default_rng(0))
        fast = regions.weights(points, draws, recipe, SIZE) > 0.5
        found = [overlap(masks.build(family, p, SIZE), f) for p, f in zip(points, fast, strict=True)]
        assert min(found) > 0.92
        assert np.mean(found) > 0.95


def test_growth_moves_the_edge_of_lines_as_far_as_a_kernel_does(faces):
    """But for slanted edges, which a square kernel moves further."""
    recipe = replace(STILL, families=(0, 0, 0, 1, 0, 0, 0))
    draws = draw(1, recipe, False, np.random.default_rng(0))
    points = faces.points[:1].astype(float)
    for grow, morphology, kernel in ((-6 / 160, masks.erode, 13), (3 / 160, masks.dilate, 7)):
        fast = regions.weights(points, replace(draws, grow=np.array([grow])), recipe, SIZE)[0] > 0.5
        assert overlap(morphology(masks.build("hull", points[0], SIZE), kernel), fast) > 0.88


def test_deformation_follows_the_same_displacement(faces):
    recipe = replace(STILL, families=(0, 0, 0, 1, 0, 0, 0), deformation=(0.06, 0.06))
    points = faces.points.astype(float)
    draws = draw(len(points), recipe, False, np.random.default_rng(1))
    fast = regions.weights(points, draws, recipe, SIZE) > 0.5
    moved = masks.in_pixels(draws.displacement, masks.face_frame(points)[2])
    for row in range(len(points)):
        plain = masks.build("hull", points[row], SIZE)
        drawn = masks.deform(plain, moved[row])
        assert overlap(plain, drawn) < 0.93
        assert overlap(drawn, fast[row]) > 0.93


@pytest.mark.parametrize("blend", ["feather", "gaussian"])
def test_soft_weights_of_lines_are_those_of_the_drawn_mask(faces, blend):
    recipe = replace(STILL, families=(0, 0, 0, 0, 0, 1, 0), blends=tuple(np.eye(4)[BLENDS.index(blend)]), blur=(25, 25))
    points = faces.points.astype(float)
    draws = draw(len(points), recipe, False, np.random.default_rng(0))
    fast = regions.weights(points, draws, recipe, SIZE)
    for row in range(len(points)):
        drawn = masks.build("ellipse", points[row], SIZE, draws.box[row])
        exact = blending.feather(drawn, recipe.feather) if blend == "feather" else blending.blurred(drawn, 13)
        assert np.abs(exact - fast[row]).max() < 0.2
        assert np.abs(exact - fast[row]).mean() < 0.02


def test_feather_is_the_distance_to_the_hull_that_opencv_measures():
    mask = np.zeros((60, 70), np.float32)
    cv2.fillPoly(mask, [np.array([[10, 8], [55, 12], [40, 30], [60, 50], [20, 52]])], 1.0)  # not convex
    rows, columns = np.nonzero(mask)
    pixels = np.stack([columns, rows], 1).astype(np.int32)
    hull = cv2.convexHull(pixels)
    distance = [cv2.pointPolygonTest(hull, (float(x), float(y)), True) for x, y in pixels]
    expected = np.clip(np.array(distance) / (0.2 * np.ptp(pixels, axis=0).max()), 0, 1)
    weights = blending.feather(mask)
    np.testing.assert_allclose(weights[rows, columns], expected, atol=1e-6)
    assert not weights[mask == 0].any()
    assert not blending.feather(np.zeros((5, 5), np.float32)).any()


def test_the_boundary_map_is_one_where_both_pictures_count_alike():
    np.testing.assert_allclose(blending.boundary_map(np.array([0, 0.25, 0.5, 1])), [0, 0.75, 1, 0])
