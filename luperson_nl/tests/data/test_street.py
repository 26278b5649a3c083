"""The procedural street: repeatable, other persons in every split, and noise as a tracker makes it."""

import numpy as np
import pytest

from luperson_nl.data.label_truth import LabelTruth
from luperson_nl.data.street import Street
from shared_utils import UserError

SMALL = {"persons": 12, "size": (32, 16), "cameras": 3}


@pytest.fixture(scope="module")
def crops():
    return Street(seed=3, **SMALL).train()


def test_the_same_seed_draws_the_same_pixels_and_another_seed_others(crops):
    again, other = Street(seed=3, **SMALL).train(), Street(seed=4, **SMALL).train()
    assert np.array_equal(crops.images, again.images) and np.array_equal(crops.labels, again.labels)
    assert len(other) != len(crops) or not np.array_equal(other.images, crops.images)


def test_crops_have_the_size_asked_for_and_ids_without_gaps(crops):
    assert crops.images.shape == (len(crops), 32, 16, 3) and crops.images.dtype == np.uint8
    assert np.array_equal(np.unique(crops.labels), np.arange(crops.num_classes))
    assert set(crops.cameras) == {0, 1, 2}


def test_every_clip_is_of_one_camera_and_has_four_to_eight_crops(crops):
    _, counts = np.unique(crops.clips, return_counts=True)
    assert counts.min() >= 4 and counts.max() <= 8
    assert all(len(set(crops.cameras[crops.clips == clip])) == 1 for clip in np.unique(crops.clips))


def test_a_switch_ends_a_clip_and_a_fragment_is_of_one_clip(crops):
    for clip in np.unique(crops.clips):
        own = crops.clips == clip
        for values in (crops.true[own], crops.labels[own]):
            assert np.count_nonzero(np.diff(values)) <= 1
    spread = [len(set(crops.clips[crops.labels == label])) for label in range(crops.num_classes)]
    assert sorted(spread)[-12:] != [1] * 12 and spread.count(1) >= crops.num_classes - 12


def test_without_noise_every_label_is_the_person():
    crops = Street(seed=3, noise=0, **SMALL).train()
    assert np.array_equal(crops.labels, crops.true)


def test_more_noise_makes_fewer_labels_right():
    shares = []
    for noise in (0.5, 2.0):
        crops = Street(seed=5, persons=40, size=(8, 8), cameras=4, noise=noise).train()
        shares.append(LabelTruth(crops.labels, crops.true).accuracy(crops.labels))
    assert shares[0].right_person > shares[1].right_person + 0.1
    assert shares[0].canonical > shares[1].canonical + 0.2


def test_validation_and_test_show_other_persons_in_clips_split_over_query_and_gallery():
    street = Street(seed=3, **SMALL)
    (query, gallery), (others, _) = street.test(persons=6), street.validation(persons=6)
    assert len(query) == 6 * 3 and set(query.true) == set(gallery.true) == set(range(6))
    assert set(query.clips) == set(gallery.clips)
    assert not np.array_equal(query.images, others.images)


@pytest.mark.parametrize("bad", [{"persons": 4}, {"cameras": 1}, {"noise": -1}, {"size": (4, 4)}, {"clip": (1, 2)}])
def test_what_cannot_be_drawn_is_refused(bad):
    with pytest.raises(UserError):
        Street(**bad)


def test_label_truth_tells_fragments_from_switches():
    #                 person 0: main id 0, fragment 2       person 1: main id 1, one crop under id 0
    labels, true = np.array([0, 0, 0, 2, 1, 1, 0]), np.array([0, 0, 0, 0, 1, 1, 1])
    found = LabelTruth(labels, true)
    assert found.accuracy(labels) == pytest.approx((6 / 7, 5 / 7))
    assert found.accuracy(np.array([0, 0, 0, 0, 1, 1, 1])) == pytest.approx((1, 1))
