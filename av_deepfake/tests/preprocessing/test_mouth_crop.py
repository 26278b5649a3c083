"""Mouth crops: the published variants lie in tests/test_golden.py; here the default and what all share."""

from itertools import pairwise

import cv2
import numpy as np
import pytest

from av_deepfake.landmarks.points import MESH_TO_68, five, five_of_68, similarity, transform, usual
from av_deepfake.preprocessing import mouth_crop


def face(centre=(180.0, 140.0), scale=0.8, angle=0.1):
    """68 points of the mean face somewhere in a picture."""
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return (mouth_crop.mean_face() - 128) @ turn.T + centre


def texture(height=288, width=360, seed=0):
    noise = np.random.default_rng(seed).random((height, width, 3)).astype(np.float32)
    return (255 * cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 3), None, 0, 1, cv2.NORM_MINMAX)).astype(np.uint8)


def test_similarity_is_undone_exactly():
    points = mouth_crop.mean_face()
    matrix = similarity(face(), points)
    assert np.allclose(transform(face(), matrix), points)


def test_fast_2020_is_within_a_grey_level_of_the_exact_one():
    frames, points = [texture()] * 14, [face((180 + i, 140 - i / 2)) for i in range(14)]
    exact = np.stack(list(mouth_crop.crop_2020(frames, points)))
    fast = np.stack(list(mouth_crop.crop_2020(frames, points, exact=False)))
    assert np.abs(exact.astype(int) - fast).max() <= 2


def test_default_follows_a_mouth_by_fractions_of_a_pixel():
    points = [face() for _ in range(24)]
    for number, one in enumerate(points):
        one[48:, 1] += number / 4  # the mouth sinks evenly in a still picture
    frames = [texture()] * len(points)
    matrices = np.stack([place.to_crop for _, place in mouth_crop.placements(frames, points)])
    steps = np.diff(matrices[:, :, 2], axis=0)
    assert np.allclose(steps[:, 1], steps[0, 1], atol=1e-6) and -0.5 < steps[0, 1] < -0.1

    def repeated(crops):
        return sum(np.array_equal(*pair) for pair in pairwise(crops))

    assert repeated(list(mouth_crop.crop(frames, points))) == 0
    assert repeated(list(mouth_crop.crop_2020(frames, points))) > 10  # most steps are none, some a whole pixel


def test_five_points_give_nearly_the_crop_of_68():
    frames, points = [texture()] * 3, [face()] * 3
    of_68 = np.stack(list(mouth_crop.crop(frames, points))).astype(int)
    of_5 = np.stack(list(mouth_crop.crop(frames, [five_of_68(one) for one in points])))
    # The mouth's middle differs by under a pixel between all its points and its two corners.
    assert np.abs(of_68 - of_5).mean() < 6


def test_mesh_is_read_as_its_68_points():
    mesh = np.zeros((468, 2))
    mesh[list(MESH_TO_68)] = face()
    assert np.allclose(usual(mesh), face())
    assert np.allclose(five(mesh), five_of_68(face()))


@pytest.mark.parametrize("length", [1, 5, 11, 12, 30])
def test_every_length_gives_a_mouth_a_frame(length):
    for cropper in (mouth_crop.crop, mouth_crop.crop_2020):
        crops = list(cropper([texture()] * length, [face()] * length))
        assert len(crops) == length and crops[0].shape == (96, 96, 3)
    assert len(list(mouth_crop.crop_2021([texture()] * length, [face()] * length))) == length


def test_large_face_is_averaged_and_in_the_same_place():
    small = texture(288, 360)
    large = cv2.resize(small, (1800, 1440), interpolation=cv2.INTER_CUBIC)
    striped = large.copy()
    striped[:, ::2] = 255 - striped[:, ::2]  # finer than the crop can show
    points = face()
    (of_small,) = mouth_crop.crop([small], [points])
    (of_large,) = mouth_crop.crop([large], [(points + 0.5) * 5 - 0.5])
    (of_striped,) = mouth_crop.crop([striped], [(points + 0.5) * 5 - 0.5])
    assert np.abs(of_small.astype(int) - of_large).mean() < 2
    assert of_striped.std() < 0.3 * of_large.std()


def test_face_at_the_border_is_black_outside():
    (outside,) = mouth_crop.crop([texture() | 1], [face((5.0, 280.0))])
    assert (outside == 0).any() and outside.shape == (96, 96, 3)
    (far,) = mouth_crop.crop([texture()], [face((5000.0, 5000.0), scale=10)])
    assert not far.any()


def test_missed_frames_lie_between_their_neighbours():
    known = face()
    filled = mouth_crop.interpolated([None, known, None, known + 2, None])
    assert np.allclose(filled, np.stack([known, known, known + 1, known + 2, known + 2]))
    with pytest.raises(ValueError, match="no frame has landmarks"):
        mouth_crop.interpolated([None, None])


def test_2021_needs_68_points():
    with pytest.raises(ValueError, match="needs 68 points"):
        next(mouth_crop.crop_2021([texture()], [np.zeros((5, 2))]))
