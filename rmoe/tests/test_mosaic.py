"""The procedural default: what it draws, and that it draws the same again."""

import numpy as np
import pytest

from rmoe.data.mosaic import Mosaic, to_pixels
from shared_utils import UserError

SCENE_LABELS, SCENE_MEAN = 475, 0.040183876


def test_the_same_seed_draws_the_same_and_another_seed_does_not():
    first, again, other = (Mosaic(seed=seed).scenes("train", 4) for seed in (0, 0, 1))
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    assert not np.allclose(first.images, other.images)


def test_numbers_are_those_of_every_machine():
    drawn = Mosaic(seed=0).scenes("test", 2)
    assert drawn.labels.sum() == SCENE_LABELS
    assert drawn.images.mean() == pytest.approx(SCENE_MEAN, abs=1e-5)


def test_splits_are_different_draws():
    mosaic = Mosaic()
    means = [mosaic.upstream(split, 4).images.mean() for split in ("train", "val", "test")]
    assert len(set(map(float, means))) == 3


def test_labels_follow_the_rule_of_the_domain():
    mosaic = Mosaic(seed=3)
    scenes, upstream = mosaic.scenes("train", 16), mosaic.upstream("train", 16)
    rule = mosaic.rule()
    assert (scenes.labels == rule[scenes.domains[:, None, None], scenes.textures]).all()
    assert (mosaic.rule(upstream=True) == rule).all() and upstream.classes.max() < 8
    assert all((np.bincount(row, minlength=8) == 2).all() for row in rule), "every class has as many textures"
    assert (rule[0] != rule[1]).any()


def test_one_rule_is_the_control_and_changes_nothing_else():
    plain, control = Mosaic(seed=2), Mosaic(seed=2, one_rule=True)
    assert (control.rule() == plain.rule()[0]).all()
    assert (control.scenes("val", 3).images == plain.scenes("val", 3).images).all()


def test_rules_that_are_not_shared_differ_downstream_only():
    mosaic = Mosaic(shared_rule=False)
    assert (mosaic.rule(upstream=True) == Mosaic().rule(upstream=True)).all()
    assert (mosaic.rule() != mosaic.rule(upstream=True)).any()


def test_colour_tells_the_domain_and_nothing_of_the_texture():
    mosaic = Mosaic(noise=0.0)
    scenes = mosaic.scenes("train", 8)
    patches = scenes.images.reshape(8, 3, 8, 4, 8, 4).mean((3, 5))
    assert np.allclose(patches, mosaic.colours[scenes.domains][:, :, None, None], atol=1e-5)


def test_a_patch_shows_its_texture_whole():
    mosaic = Mosaic(noise=0.0)
    scenes = mosaic.scenes("train", 1)
    patch = scenes.images[0, 0, 4:8, 8:12] - mosaic.colours[scenes.domains[0], 0]
    assert np.allclose(patch, 0.7 * mosaic.textons[scenes.textures[0, 1, 2]], atol=1e-5)


def test_instances_have_exact_masks_that_do_not_overlap():
    mosaic = Mosaic()
    for number in range(6):
        pixels, found = mosaic.instances("train", number)
        assert pixels.shape == (96, 96, 3) and pixels.dtype == np.uint8
        assert all(each.mask.sum() >= 16 and 0 <= each.label < 8 for each in found)
        assert sum(each.mask.astype(int) for each in found).max() <= 1


def test_size_and_number_of_objects_of_an_instance_image_are_those_of_the_mosaic():
    mosaic = Mosaic(instance_size=48, objects=2, object_sides=(16, 32))
    drawn = [mosaic.instances("test", number) for number in range(8)]
    assert all(pixels.shape == (48, 48, 3) for pixels, _ in drawn)
    assert max(len(found) for _, found in drawn) == 2
    boxes = [np.ptp(np.nonzero(each.mask)[0]) + 1 for _, found in drawn for each in found[-1:]]
    assert min(boxes) >= 15 and max(boxes) <= 33, "the last is covered by none"


def test_pixels_keep_what_is_drawn():
    assert to_pixels(np.array([0.0, 1.0, -9.0])).tolist() == [128, 168, 0]


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(UserError, match="not a multiple of the patch"):
        Mosaic(image_size=30)
    with pytest.raises(UserError, match="instance_size 50 is not a multiple"):
        Mosaic(instance_size=50)
    with pytest.raises(UserError, match="object_sides .* from 4 to the instance_size, 32"):
        Mosaic(instance_size=32)
