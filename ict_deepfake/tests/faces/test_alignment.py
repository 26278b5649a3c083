"""The crop is the published one, the fast way equals the exact one, and nothing aliases."""

import subprocess
import sys

import cv2
import numpy as np
import pytest

from ict_deepfake import faces
from ict_deepfake.faces.alignment import published_size

POINTS = np.array([[216.4, 124.5], [295.2, 138.4], [250.8, 178.2], [211.8, 208.7], [277.3, 216.6]])


@pytest.fixture(scope="module")
def picture():
    rng = np.random.default_rng(3)
    return cv2.resize(rng.integers(0, 256, (45, 60, 3), np.uint8), (480, 360), interpolation=cv2.INTER_CUBIC)


def test_template_points_land_on_the_template(picture):
    similar = faces.transform(np.array(faces.TEMPLATE), np.array([[0.5, -0.3, 40], [0.3, 0.5, 60]]))
    np.testing.assert_allclose(faces.transform(similar, faces.to_crop(similar)), faces.TEMPLATE, atol=1e-6)


def test_similarity_never_reflects():
    mirrored = np.array(faces.TEMPLATE) * [-1, 1]
    assert np.linalg.det(faces.similarity(np.array(faces.TEMPLATE), mirrored)[:, :2]) > 0


def test_similarity_of_a_batch_is_that_of_each():
    rng = np.random.default_rng(0)
    source, target = rng.normal(size=(4, 5, 2)), rng.normal(size=(4, 5, 2))
    one_by_one = [faces.similarity(*pair) for pair in zip(source, target, strict=True)]
    np.testing.assert_allclose(faces.similarity(source, target), one_by_one)


def test_exact_crop_is_that_of_scikit_image(picture):
    transform = pytest.importorskip("skimage.transform")
    similarity = transform.SimilarityTransform.from_estimate(np.array(faces.TEMPLATE), POINTS)
    published = (transform.warp(picture, similarity, output_shape=(317, 317)) * 255).astype(np.uint8)
    ours = faces.align(picture, POINTS, exact=True)
    assert np.abs(ours.astype(int) - published).max() <= 1  # where a whole number is cut off to the one below
    assert (ours != published).mean() < 0.01


def test_fast_crop_is_within_two_grey_levels_of_the_exact_one(picture):
    difference = faces.align(picture, POINTS).astype(int) - faces.align(picture, POINTS, exact=True)
    assert np.abs(difference).max() <= 2


def test_crop_of_a_part_of_the_picture_is_that_of_the_whole(picture):
    small = POINTS * 0.2 + [300, 200]
    embedded = cv2.copyMakeBorder(picture, 700, 700, 700, 700, cv2.BORDER_CONSTANT, value=(0, 0, 0))
    np.testing.assert_array_equal(faces.align(picture, small), faces.align(embedded, small + 700))


def test_large_face_is_shrunk_without_aliasing():
    stripes = np.zeros((2400, 2400, 3), np.uint8)
    stripes[:, ::2] = 255
    points = (np.array(faces.TEMPLATE) - 158) * 6 + 1200
    middle = faces.align(stripes, points)[100:217, 100:217]
    assert middle.min() > 100 and middle.max() < 160  # unshrunk, black and white alternate


def test_large_face_keeps_its_place():
    smooth = cv2.resize(np.random.default_rng(0).integers(0, 256, (9, 9, 3), np.uint8), (1607, 1601))
    points = (np.array(faces.TEMPLATE) - 158) * 4.3 + [810, 790]
    difference = faces.align(smooth, points).astype(int) - faces.align(smooth, points, exact=True)
    assert np.abs(difference).max() <= 3


def test_outside_the_picture_is_black_and_counted():
    white = np.full((200, 200, 3), 255, np.uint8)
    points = (np.array(faces.TEMPLATE) - 158) * 0.5 + [100, 0]  # the upper half of the crop is outside
    crop = faces.align(white, points)
    assert not crop[:150].any() and crop[170:].all()
    assert faces.visible(white.shape, points) == pytest.approx((crop > 127).mean(), abs=0.01)


def test_scaled_alignment_shows_the_same_in_other_pixels(picture):
    half = faces.align(picture, POINTS, faces.Alignment().scaled(158))
    whole = cv2.resize(faces.align(picture, POINTS), (158, 158), interpolation=cv2.INTER_AREA)
    assert np.abs(half.astype(int) - whole).mean() < 3


def test_alignment_goes_through_plain_values():
    alignment = faces.Alignment().scaled(64)
    assert faces.Alignment.from_dict(alignment.as_dict()) == alignment


def test_network_input_is_pillows_resize(picture):
    from PIL import Image

    crop = faces.align(picture, POINTS)
    expected = np.asarray(Image.fromarray(crop).resize((112, 112), Image.Resampling.BILINEAR)).transpose(2, 0, 1)
    ours = faces.network_input([crop, crop])
    assert ours.shape == (2, 3, 112, 112)
    np.testing.assert_allclose(ours[1].numpy(), (expected / 255.0 - 0.5) / 0.5, atol=1e-6)


def test_sizes_in_which_the_published_code_searches():
    assert published_size(360, 480) == (360, 480)
    assert published_size(720, 1300) == (int(720 * 1268 / 1300), 1268)
    assert published_size(316, 200) == (632, 400)
    assert published_size(316, 400) == (316, 400)


@pytest.mark.parametrize("points", [POINTS[:4], np.full((5, 2), np.nan)])
def test_points_that_are_no_face_are_refused(picture, points):
    with pytest.raises(ValueError, match="five finite points"):
        faces.align(picture, points)


def test_float_picture_is_refused(picture):
    with pytest.raises(ValueError, match="uint8 RGB"):
        faces.align(picture / 255, POINTS)


def test_importing_faces_loads_no_torch():
    code = "import sys, ict_deepfake.faces; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
