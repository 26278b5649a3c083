"""mIoU against a count pixel by pixel; scales, flips and windows against what they are made of."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from rmoe.evaluation.segmentation import MULTI_SCALE, ConfusionMatrix, SegmentationPredictor, evaluate
from shared_utils import UserError


def brute_force(pairs, num_classes):
    iou, accuracy = [], []
    flat = [(int(p), int(t)) for prediction, truth in pairs for p, t in zip(prediction.ravel(), truth.ravel())]  # noqa: B905
    flat = [(p, t) for p, t in flat if t != 255]
    for k in range(num_classes):
        both = sum(p == k and t == k for p, t in flat)
        either = sum(p == k or t == k for p, t in flat)
        own = sum(t == k for _, t in flat)
        iou.append(both / either if either else math.nan)
        accuracy.append(both / own if own else math.nan)
    return iou, accuracy, sum(p == t for p, t in flat) / len(flat)


def test_scores_equal_a_count_of_every_pixel_over_the_whole_set():
    rng = np.random.default_rng(0)
    pairs = []
    for _ in range(3):
        truth = rng.choice([0, 1, 2, 3, 255], (9, 11), p=[0.5, 0.2, 0.1, 0.1, 0.1])
        prediction = np.where(rng.random((9, 11)) < 0.5, np.minimum(truth, 4), rng.integers(0, 5, (9, 11)))
        pairs.append((prediction, truth))
    matrix = ConfusionMatrix(6)
    for prediction, truth in pairs:
        matrix.update(torch.from_numpy(prediction), torch.from_numpy(truth))
    scores = matrix.scores()
    iou, accuracy, pixels = brute_force(pairs, 6)
    np.testing.assert_allclose(scores.iou, iou)
    np.testing.assert_allclose(scores.accuracy, accuracy)
    assert scores.pixel_accuracy == pytest.approx(pixels)
    # class 4 is predicted, never there: it counts as 0; class 5 occurs nowhere: it does not count
    assert scores.iou[4] == 0 and math.isnan(scores.iou[5])
    assert scores.summary()["mIoU"] == pytest.approx(100 * np.nanmean(iou)) and scores.summary()["classes"] == 5


def test_nothing_but_ignored_pixels_is_nan_and_no_warning(recwarn):
    matrix = ConfusionMatrix(3)
    matrix.update(torch.zeros(2, 2, dtype=torch.int64), torch.full((2, 2), 255))
    scores = matrix.scores()
    assert math.isnan(scores.mean_iou) and math.isnan(scores.pixel_accuracy) and not recwarn.list


def test_rows_name_the_classes():
    matrix = ConfusionMatrix(2)
    matrix.update(torch.tensor([0, 1]), torch.tensor([0, 0]))
    assert matrix.scores().rows(["sky", "tree"])[0] == {"class": "sky", "IoU": 50.0, "accuracy": 50.0, "pixels": 2}
    with pytest.raises(UserError, match="1 class names for 2"):
        matrix.scores().rows(["sky"])


@pytest.mark.parametrize(
    ("prediction", "truth", "message"),
    [([0, 3], [0, 0], "the prediction has the value 3"), ([0, 0], [0, -1], "the truth has the value -1")],
)
def test_values_that_are_no_class_are_named(prediction, truth, message):
    with pytest.raises(UserError, match=message):
        ConfusionMatrix(3).update(torch.tensor(prediction), torch.tensor(truth))


class Colours(nn.Module):
    """Logits are the (normalised) channels; notes the sizes it was given."""

    def __init__(self):
        super().__init__()
        self.scale, self.sizes = nn.Parameter(torch.ones(())), []

    def forward(self, images):
        self.sizes.append(tuple(images.shape[2:]))
        return self.scale * images


def test_a_colour_image_is_classified_at_its_own_size_by_every_way():
    image = torch.zeros(3, 60, 90, dtype=torch.uint8)
    image[0, :, :30], image[1, :, 30:60], image[2, :, 60:] = 255, 255, 255
    wanted = torch.arange(90).div(30, rounding_mode="floor").expand(60, 90)
    for options in ({}, {"flip": True}, {"ratios": MULTI_SCALE, "flip": True}, {"window": 32}):
        predictor = SegmentationPredictor(Colours(), scale=(240, 80), **options)
        found = predictor(image)
        assert found.shape == (60, 90) and (found == wanted).float().mean() > 0.97, options


def test_the_scales_are_the_published_ones():
    model = Colours()
    SegmentationPredictor(model, ratios=MULTI_SCALE, flip=True)(torch.zeros(3, 480, 640))
    assert model.sizes[::2] == model.sizes[1::2]
    assert model.sizes[::2] == [(256, 341), (384, 512), (512, 683), (640, 853), (768, 1024), (896, 1195)]


def test_windows_cover_the_image_and_overlaps_are_averaged():
    model = Colours()
    image = torch.rand(3, 70, 100) * 255
    windows = SegmentationPredictor(model, scale=None, window=48, stride=32).probabilities(image)
    assert model.sizes == [(48, 48)] * 6
    whole = SegmentationPredictor(Colours(), scale=None).probabilities(image)
    torch.testing.assert_close(windows, whole)


def test_an_image_smaller_than_the_window_is_one_window():
    model = Colours()
    SegmentationPredictor(model, scale=None, window=48)(torch.rand(3, 20, 30))
    assert model.sizes == [(20, 30)]


def test_windows_with_gaps_are_refused():
    with pytest.raises(UserError, match="gaps"):
        SegmentationPredictor(Colours(), window=32, stride=40)


def test_evaluate_compares_at_the_labels_resolution():
    image = torch.zeros(3, 31, 47)
    image[1] = 255
    label = torch.ones(31, 47, dtype=torch.int64)
    label[0] = 255
    scores = evaluate(SegmentationPredictor(Colours(), scale=(64, 32)), [(image, label)], 3)
    assert scores.mean_iou == 1 and int(scores.pixels.sum()) == 30 * 47
