"""Views of pre-training and fine-tuning: the published ranges, the published order, and what depends on the sample alone."""

import random

import cv2
import numpy as np
import pytest
import torch
from torch.utils.data import default_collate

from luperson_nl.data import transforms
from luperson_nl.data.decoding import decode, jpeg_size
from luperson_nl.data.transforms import NOT_ERASED, FineTuneView, StrongView, Variant, View, WeakView, finish, variant
from shared_utils import UserError

SIZE = (64, 32)


def picture(height=80, width=41):
    """Smooth and of many colours."""
    rng = np.random.default_rng(0)
    return cv2.resize(rng.integers(0, 256, (10, 5, 3), dtype=np.uint8), (width, height), interpolation=cv2.INTER_CUBIC)


def collated(view):
    return View(*default_collate([tuple(view)]))


def test_variants_have_their_published_names():
    assert variant("ori") == Variant(True, True, True, 0.0)
    assert variant("ori-cj+sre") == Variant(False, True, True, 0.6)
    assert variant("ori-cj-gs-gb+wre") == Variant(False, False, False, 0.2)
    assert variant("ori+re").erased == 0.4 and variant("ori+ssre").erased == 0.8
    with pytest.raises(UserError, match="'ori\\+xre' is unknown"):
        variant("ori+xre")


@pytest.mark.parametrize("view", [WeakView(SIZE, 3), StrongView(SIZE, "ori+sre"), FineTuneView(SIZE)])
def test_a_view_depends_on_what_is_drawn_alone(view):
    same = [view(picture(), random.Random(5)) for _ in range(2)]
    other = view(picture(), random.Random(6))
    assert np.array_equal(same[0].image, same[1].image) and not np.array_equal(same[0].image, other.image)
    assert same[0].image.shape == (*SIZE, 3) and same[0].image.dtype == np.uint8


def test_the_weak_view_without_padding_is_the_publications_up_to_the_filter():
    from PIL import Image

    for source in (picture(80, 41), picture(40, 20)):
        view = WeakView(SIZE, 0)(source, random.Random(0))
        reference = np.asarray(Image.fromarray(source).resize(SIZE[::-1], Image.Resampling.BICUBIC))
        assert np.abs(view.image.astype(int) - reference.astype(int)).mean() < 4


def test_moving_brings_black_in():
    image = np.full((6, 4, 3), 9, np.uint8)
    result = transforms.moved(image, 2, -1)
    assert (result[:2] == 0).all() and (result[:, 3] == 0).all() and (result[2:, :3] == 9).all()
    assert np.array_equal(transforms.moved(picture(), 0, 0), picture())


def test_crops_and_erased_boxes_keep_their_ranges():
    draw = random.Random(0)
    crops = np.array([transforms.crop_box((128, 64), draw) for _ in range(500)])
    areas, ratios = crops[:, 2] * crops[:, 3] / (128 * 64), crops[:, 3] / crops[:, 2]
    assert (crops >= 0).all() and (crops[:, 0] + crops[:, 2] <= 128).all() and (crops[:, 1] + crops[:, 3] <= 64).all()
    assert 0.19 < areas.min() < 0.25 and ratios.min() > 0.72 and ratios.max() < 1.4
    boxes = np.array([transforms.erased_box((128, 64), 0.6, draw) for _ in range(1000)])
    erased = boxes[boxes[:, 2] > 0]
    shares = erased[:, 2] * erased[:, 3] / (128 * 64)
    assert 0.45 < len(erased) / 1000 <= 0.55 and shares.min() > 0.015 and 0.5 < shares.max() < 0.62
    assert (erased[:, 0] + erased[:, 2] <= 128).all() and (erased[:, 1] + erased[:, 3] <= 64).all()


def test_a_wide_picture_gets_the_middle_where_no_crop_fits():
    top, left, height, width = transforms.crop_box((10, 400), random.Random(0))
    assert height == 10 and width == 13 and top == 0 and left == 193


def test_finish_flips_grays_normalises_and_then_erases_with_the_mean():
    image = picture(*SIZE)
    mean, std = (0.3, 0.4, 0.5), (0.2, 0.25, 0.3)
    plain = finish(collated(View(image, False, False, NOT_ERASED)), mean, std)[0]
    expected = (torch.from_numpy(image).permute(2, 0, 1) / 255 - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[
        :, None, None
    ]
    assert torch.allclose(plain, expected, atol=1e-5)
    flipped = finish(collated(View(image, True, False, NOT_ERASED)), mean, std)[0]
    assert torch.equal(flipped, plain.flip(2))
    erased = finish(collated(View(image, False, False, np.array([3, 4, 10, 5]))), mean, std)[0]
    changed = (erased != plain).any(0)
    assert changed[3:13, 4:9].all() and int(changed.sum()) == 50 and (erased[:, 3:13, 4:9] == 0).all()
    gray = finish(collated(View(image, False, True, NOT_ERASED)), (0, 0, 0), (1, 1, 1))[0] * 255
    assert torch.equal(gray[0], gray[1])
    assert torch.allclose(gray[0], torch.from_numpy(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)).float(), atol=1)


def test_fine_tuning_erases_with_black():
    view = FineTuneView(SIZE, 0)
    views = [view(np.full((*SIZE, 3), 200, np.uint8), random.Random(number)) for number in range(20)]
    images = finish(View(*default_collate([tuple(each) for each in views])), (0.2, 0.2, 0.2), (0.5, 0.5, 0.5), True)
    levels = images.unique().tolist()
    assert levels == pytest.approx([-0.2 / 0.5, (200 / 255 - 0.2) / 0.5])
    assert 3 < sum(float(image.min()) < 0 for image in images) < 17


def test_jitter_changes_colours_within_the_published_factors():
    # A gray picture has no saturation and no hue: what is left is brightness and contrast.
    gray = np.full((8, 8, 3), 100, np.uint8)
    means = [transforms.jittered(gray, random.Random(seed)).mean() for seed in range(200)]
    assert 59 <= min(means) < 65 and 135 < max(means) <= 141


def test_a_large_jpeg_is_decoded_at_a_fraction_of_its_size():
    data = cv2.imencode(".jpg", picture(301, 150))[1].tobytes()
    assert jpeg_size(data) == (301, 150) and decode(data).shape == (301, 150, 3)
    assert decode(data, (64, 32)).shape == (76, 38, 3)
    assert decode(data, (150, 75)).shape == (151, 75, 3)
    assert decode(data, (200, 75)).shape == (301, 150, 3)
    # The colours are in their order, and a PNG has no fractions.
    png = cv2.imencode(".png", picture(301, 150)[..., ::-1])[1].tobytes()
    assert np.array_equal(decode(png, (8, 8)), picture(301, 150)) and jpeg_size(png) is None
    assert decode(b"nothing") is None and decode(b"") is None and decode(data[:300], (8, 8)) is None
