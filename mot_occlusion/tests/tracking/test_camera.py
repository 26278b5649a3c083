"""The motion of the camera, from pictures that were moved by a known one."""

import cv2
import numpy as np
import pytest

from mot_occlusion.tracking.camera import STILL, CameraMotion


def scenery(seed=0, size=(300, 400)):
    rng = np.random.default_rng(seed)
    coarse = cv2.resize(rng.integers(0, 255, (30, 40), dtype=np.uint8), size[::-1], interpolation=cv2.INTER_CUBIC)
    return np.repeat(coarse[..., None], 3, axis=2)


def moved(image, matrix):
    return cv2.warpAffine(image, matrix, image.shape[1::-1], borderMode=cv2.BORDER_REFLECT)


@pytest.mark.parametrize("size", [(300, 400), (900, 1200)])
def test_a_turn_a_scale_and_a_shift_are_found(size):
    image, camera = scenery(size=size), CameraMotion()
    matrix = cv2.getRotationMatrix2D((size[1] / 2, size[0] / 2), 1.5, 1.02)
    matrix[:, 2] += (6.0, -3.0)
    np.testing.assert_array_equal(camera(image), STILL)
    found = camera(moved(image, matrix))
    corners = np.array([[0, 0, 1], [size[1], 0, 1], [0, size[0], 1], [size[1], size[0], 1]], float)
    np.testing.assert_allclose(corners @ found.T, corners @ matrix.T, atol=0.006 * size[1])


def test_people_who_move_are_not_the_camera():
    """A large textured thing moves by 12 pixels in front of a still background."""
    background, thing = scenery(), scenery(1, (300, 260))
    frames = []
    for shift in (0, 12):
        frame = background.copy()
        frame[:, 100 + shift : 360 + shift] = thing
        frames.append(frame)
    people = np.array([[95, 0, 375, 300]])
    camera = CameraMotion()
    camera(frames[0], people)
    np.testing.assert_allclose(camera(frames[1], people), STILL, atol=0.2)
    blind = CameraMotion()
    blind(frames[0])
    assert abs(blind(frames[1])[0, 2] - 12) < 1


def test_pictures_without_corners_or_without_a_picture_stand_still():
    camera, flat = CameraMotion(), np.full((100, 100, 3), 90, np.uint8)
    for image in (flat, flat, None, scenery(), flat):
        np.testing.assert_array_equal(camera(image), STILL)
