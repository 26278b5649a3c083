"""The published augmentations: sizes, limits, and what they do to boxes and masks."""

import pytest
import torch

from rmoe.data import transforms
from rmoe.data.coco import DetectionSample
from rmoe.data.files import LabelledImage
from shared_utils import UserError


def picture(height=40, width=60, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(256, (3, height, width), generator=generator, dtype=torch.uint8)


def labelled(height=40, width=60):
    label = torch.zeros(height, width, dtype=torch.int64)
    label[:, width // 2 :] = 3
    return LabelledImage(picture(height, width), label, "x")


def detection():
    masks = torch.zeros(2, 40, 60, dtype=torch.uint8)
    masks[0, 10:20, 5:25], masks[1, 30:38, 40:50] = 1, 1
    boxes = torch.tensor([[5.0, 10, 25, 20], [40, 30, 50, 38]])
    target = {"boxes": boxes, "labels": torch.tensor([1, 2]), "masks": masks, "iscrowd": torch.zeros(2)}
    return DetectionSample(picture(), {**target, "area": torch.tensor([200.0, 80.0]), "image_id": torch.tensor(1)}, "x")


def around(masks):
    rows, columns = masks.any(2).float(), masks.any(1).float()
    ends = [(line.argmax(1), line.shape[1] - line.flip(1).argmax(1)) for line in (columns, rows)]
    return torch.stack([ends[0][0], ends[1][0], ends[0][1], ends[1][1]], 1).float()


def test_sides_are_rounded_as_published():
    assert transforms.fitted(480, 640, 2048, 512) == (512, 683)
    assert transforms.fitted(300, 2000, 2048, 512) == (307, 2048)


def test_training_crops_have_their_size_and_padding_is_ignored():
    torch.manual_seed(0)
    augmentation = transforms.SegmentationAugmentation(crop=64, long=128, short=48, ratios=(0.5, 2.0))
    for _ in range(6):
        made = augmentation(labelled())
        assert made["image"].shape == (3, 64, 64) and made["label"].shape == (64, 64)
        assert (made["label"][made["padding"]] == 255).all() and (made["image"][:, made["padding"]] == 0).all()
        assert set(made["label"].unique().tolist()) <= {0, 3, 255}


def test_evaluation_leaves_the_label_alone():
    sample = labelled()
    made = transforms.SegmentationEvaluation(2048, 20)(sample)
    assert made["image"].shape == (3, 20, 30) and made["label"] is sample.label


def test_a_crop_of_one_class_is_drawn_again():
    torch.manual_seed(1)
    label = torch.zeros(10, 100, dtype=torch.int64)
    label[:, 45:] = 1
    shares = []
    for _ in range(20):
        top, left = transforms.crop_window(label, 10, tries=200)
        shares.append(float(label[top : top + 10, left : left + 10].float().mean()))
    assert all(0.25 < share < 0.75 for share in shares)


def test_distortion_keeps_type_and_range_and_can_do_nothing():
    torch.manual_seed(0)
    made = [transforms.photometric_distortion(picture()) for _ in range(60)]
    assert all(image.dtype == torch.uint8 and image.shape == (3, 40, 60) for image in made)
    assert any(torch.equal(image, picture()) for image in made) and not all(torch.equal(i, picture()) for i in made)


def test_saturation_is_that_of_hsv():
    import colorsys

    pixel = torch.tensor([200, 100, 50], dtype=torch.uint8)[:, None, None]
    hue, saturation, value = colorsys.rgb_to_hsv(*(pixel.flatten().double() / 255).tolist())
    for factor in (0.5, 1.3, 3.0):
        expected = colorsys.hsv_to_rgb(hue, min(1.0, factor * saturation), value)
        found = transforms._saturate(pixel, factor).flatten().double() / 255
        assert torch.allclose(found, torch.tensor(expected, dtype=torch.float64), atol=1 / 255)


def test_flipping_twice_is_nothing_and_boxes_follow_masks():
    sample = detection()
    image, target = transforms.flip(sample.image, sample.target)
    assert torch.equal(around(target["masks"]), target["boxes"])
    again = transforms.flip(image, target)
    assert torch.equal(again[0], sample.image) and torch.equal(again[1]["boxes"], sample.target["boxes"])


def test_boxes_follow_masks_through_a_size_and_a_crop():
    sample = detection()
    image, target = transforms.resize(sample.image, sample.target, 80, 1000)
    assert image.shape == (3, 80, 120) and torch.equal(around(target["masks"]), target["boxes"])
    image, target = transforms.crop_to(image, target, 30, 20, 40, 60)
    assert image.shape == (3, 40, 60) and target["labels"].tolist() == [1]
    assert torch.equal(around(target["masks"]), target["boxes"])


@pytest.mark.parametrize("policy", ["published", "multi_scale", "flip", "none"])
def test_detection_samples_stay_consistent(policy):
    torch.manual_seed(2)
    augmentation = transforms.DetectionAugmentation(policy, (48, 64), 100, (40, 50), (30, 45))
    for _ in range(8):
        made = augmentation(detection())
        height, width = made.image.shape[1:]
        assert made.image.dtype == torch.float32 and made.image.max() <= 1
        assert made.target["masks"].shape == (len(made.target["labels"]), height, width)
        assert (made.target["boxes"] >= 0).all() and (made.target["boxes"][:, [2]] <= width).all()


def test_an_unknown_policy_is_refused():
    with pytest.raises(UserError, match="choose of published"):
        transforms.DetectionAugmentation("hard")


def test_batches_leave_out_what_could_not_be_read():
    sample = {"image": torch.zeros(3, 2, 2), "label": torch.zeros(2, 2), "name": "x"}
    assert transforms.collate_segmentation([None, sample])["image"].shape == (1, 3, 2, 2)
    assert transforms.collate_segmentation([None]) is None and transforms.collate_detection([None]) is None
