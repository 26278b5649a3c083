"""What lies outside the training data is named with both numbers."""

import numpy as np
import pytest

from av_deepfake.prediction import appearance, outside

TRAINING = {"detection": {"set": "ff++", "ranges": {"fps": [24.9, 25.1], "sharpness": [0.1, 0.3]}}}
CROPS = {"variant": "2020", "landmarks": "dlib68"}


def test_what_lies_inside_is_not_mentioned():
    facts = {"fps": 25.0, "variant": "2020", "landmarks": "mesh68", "appearance": {"sharpness": 0.2}}
    assert outside(facts, TRAINING, CROPS) == []


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"fps": 12.5}, "frame rate: 12.5 frames per second, in training 24.9 to 25.1"),
        ({"appearance": {"sharpness": 0.9}}, "sharpness of the mouth: 0.9"),
        ({"landmarks": "mtcnn5"}, "by 68 points in training, by 5 here"),
        ({"landmarks": "given5"}, "--detector dlib or mesh"),
        ({"variant": "subpixel"}, "use --variant 2020"),
    ],
)
def test_what_lies_outside_is_named(facts, words):
    (found,) = outside(facts, TRAINING, CROPS)
    assert words in found


def test_five_points_are_asked_for_where_the_model_saw_five():
    (found,) = outside({"landmarks": "dlib68"}, {}, {"landmarks": "mtcnn5"})
    assert "--detector mtcnn" in found


def test_a_model_of_drawn_mouths_says_so_and_nothing_of_crops():
    (found,) = outside(
        {"landmarks": "mtcnn5", "variant": "subpixel"},
        {"pretraining": {"set": "procedural mouths"}},
        {"variant": "drawn", "landmarks": "drawn"},
    )
    assert "the model has seen procedural mouths only" in found


def test_crops_without_known_points_are_not_compared():
    assert outside({"landmarks": "aligned", "variant": None}, TRAINING, CROPS) == []


def test_appearance_tells_blur_noise_and_stillness():
    random = np.random.default_rng(0)
    noise = random.integers(0, 255, (5, 20, 20), dtype=np.uint8)
    ramp = np.broadcast_to(np.arange(0, 200, 10, dtype=np.uint8), (5, 20, 20))
    assert appearance(noise)["sharpness"] > 10 * appearance(ramp)["sharpness"]
    assert appearance(ramp)["movement"] == 0 and appearance(noise)["movement"] > 50
    assert appearance(ramp)["brightness"] == pytest.approx(95) and appearance(noise[:1])["movement"] == 0
