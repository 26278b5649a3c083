"""Training's degradations: nothing of them tells a swapped picture from a genuine one."""

from dataclasses import replace

import numpy as np
import pytest

from ict_deepfake.degradations import TrainingDegradation
from ict_deepfake.procedural import Population
from ict_deepfake.swapping import Recipe, swap_pairs
from shared_utils import UserError

ALWAYS = TrainingDegradation(probability=1, grey=0.5)


@pytest.fixture(scope="module")
def faces():
    return Population(size=48, cache=None, train=(8, 2)).train()


@pytest.mark.parametrize("seed", range(4))
def test_genuine_and_swapped_pictures_of_a_batch_get_the_same_recipe(faces, seed):
    """A batch that holds one picture twice, in a genuine and in a swapped picture's place, shows it twice alike."""
    batch = faces.images.copy()
    batch[8:] = batch[:8]
    quiet = replace(ALWAYS, noise=0)
    made = quiet(batch, np.random.default_rng(seed))
    np.testing.assert_array_equal(made[8:], made[:8])
    assert (made != batch).any()
    residual = ALWAYS(batch, np.random.default_rng(seed)).astype(float) - made
    assert residual[8:].std() == pytest.approx(residual[:8].std(), rel=0.1)


def test_what_is_drawn_does_not_depend_on_the_pictures(faces):
    flat = np.full_like(faces.images, 90)
    for seed in range(5):
        generators = [np.random.default_rng(seed) for _ in range(2)]
        for images, rng in zip((faces.images, flat), generators, strict=True):
            TrainingDegradation()(images, rng)
        assert generators[0].random() == generators[1].random()


def test_a_swap_of_a_picture_with_itself_leaves_no_trace(faces):
    """Neither resampling, nor colour correction, nor the blend marks a swapped picture."""
    rng = np.random.default_rng(0)
    images, points = faces.images, faces.points
    ba, ab = swap_pairs(images, images, points, points, Recipe(), rng)
    for made in (ba, ab):
        difference = np.abs(made.astype(int) - images)
        assert difference.max() <= 2
        assert difference.mean() < 0.05


def test_outside_its_mask_a_swapped_picture_is_the_target_to_the_bit(faces):
    ba, _ = swap_pairs(
        faces.images[:8], faces.images[8:], faces.points[:8], faces.points[8:], Recipe(), np.random.default_rng(0)
    )
    same = (ba == faces.images[:8]).all(3)
    assert (same.mean((1, 2)) > 0.3).all()
    assert same[:, 0].all()


def test_mirroring_takes_the_whole_batch(faces):
    only = TrainingDegradation(probability=0, grey=0, flip=1)
    np.testing.assert_array_equal(only(faces.images, np.random.default_rng(0)), faces.images[:, :, ::-1])
    never = replace(only, flip=0)
    np.testing.assert_array_equal(never(faces.images, np.random.default_rng(0)), faces.images)


def test_ranges_that_make_no_sense_are_refused():
    with pytest.raises(UserError, match="range in 1 to 100"):
        TrainingDegradation(quality=(80, 20))
    with pytest.raises(UserError, match="in 0 to 1"):
        TrainingDegradation(flip=2)
