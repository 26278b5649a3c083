"""Anchors, box deltas, pooling, resizing, pasting: against plain loops and closed forms."""

import math

import pytest
import torch
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import MultiScaleRoIAlign, roi_align

from rmoe.models.detection import AnchorGenerator, BoxCoder, DetectionTransform, RoIPooler, paste_masks, resized_sides
from rmoe.models.detection.roi import mask_targets


def test_strides_of_anchors_do_not_depend_on_the_batchs_size():
    generator = AnchorGenerator([4, 8, 16, 32, 64])
    images = ImageList(torch.zeros(1, 3, 800, 1344), [(800, 1333)])
    maps = [torch.zeros(1, 1, math.ceil(800 / s), math.ceil(1344 / s)) for s in (4, 8, 16, 32, 64)]
    (anchors,) = generator(images, maps)
    assert anchors.shape == (sum(3 * x.shape[2] * x.shape[3] for x in maps), 4)
    last = anchors[-1]
    # 13 rows and 21 columns at stride 64, not at 800 // 13 = 61.
    torch.testing.assert_close((last[:2] + last[2:]) / 2, torch.tensor([20.0 * 64, 12 * 64]))


def test_anchors_stay_float32_for_half_precision_maps():
    generator = AnchorGenerator([4])
    (anchors,) = generator(
        ImageList(torch.zeros(1, 3, 8, 8), [(8, 8)]), [torch.zeros(1, 1, 2, 2, dtype=torch.bfloat16)]
    )
    assert anchors.dtype == torch.float32


def test_encoded_boxes_decode_to_themselves():
    corner, side = torch.rand(50, 2) * 100, torch.rand(50, 2) * 50 + 5
    boxes = torch.cat([corner, corner + side], dim=1)
    other = boxes + torch.randn(50, 4)
    coder = BoxCoder((10.0, 10.0, 5.0, 5.0))
    decoded = coder.decode_single(coder.encode_single(other, boxes), boxes)
    torch.testing.assert_close(decoded, other, rtol=1e-4, atol=1e-3)


def test_sizes_are_limited_in_both_directions():
    box = torch.tensor([[0.0, 0, 1000, 1000]])
    decoded = BoxCoder((1.0, 1.0, 1.0, 1.0)).decode_single(torch.tensor([[0.0, 0, -50, 50]]), box)
    torch.testing.assert_close(decoded[0, 2:] - decoded[0, :2], torch.tensor([16.0, 62500.0]))


def test_pooling_takes_each_box_from_the_level_of_its_size():
    pooler = RoIPooler(7, [4, 8, 16, 32])
    sides = [1, 111, 113, 223, 225, 447, 449, 5000]
    boxes = torch.tensor([[0.0, 0, side, side] for side in sides])
    assert pooler.levels(boxes).tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


def test_pooling_is_aligned_roi_align_of_that_level_in_the_boxes_order():
    strides = [4, 8]
    features = {str(i): torch.randn(2, 3, 400 // s, 400 // s) for i, s in enumerate(strides)}
    boxes = [torch.tensor([[0.0, 0, 200, 200], [3, 5, 40, 60]]), torch.tensor([[10.0, 10, 30, 30]])]
    pooled = RoIPooler(7, strides)(features, boxes)
    level = [1, 0, 0]
    rows = [(0, boxes[0][0]), (0, boxes[0][1]), (1, boxes[1][0])]
    for value, i, (image, box) in zip(pooled, level, rows, strict=True):
        roi = torch.cat([torch.tensor([float(image)]), box])[None]
        wanted = roi_align(features[str(i)], roi, 7, 1 / strides[i], sampling_ratio=0, aligned=True)
        torch.testing.assert_close(value, wanted[0])
    # and torchvision's own pooler is another thing
    theirs = MultiScaleRoIAlign(["0", "1"], 7, 2)(features, boxes, [(400, 400)] * 2)
    assert not torch.allclose(pooled, theirs, atol=1e-2)


def test_pooling_of_no_boxes_is_empty_and_gradients_reach_every_level_used():
    features = {"0": torch.randn(1, 3, 50, 50, requires_grad=True), "1": torch.randn(1, 3, 25, 25, requires_grad=True)}
    pooler = RoIPooler(7, [4, 8])
    assert pooler(features, [torch.zeros(0, 4)]).shape == (0, 3, 7, 7)
    pooler(features, [torch.tensor([[0.0, 0, 20, 20], [0, 0, 190, 190]])]).sum().backward()
    assert all(x.grad.abs().sum() > 0 for x in features.values())


@pytest.mark.parametrize(
    ("size", "wanted"), [((480, 640), (800, 1067)), ((640, 427), (1199, 800)), ((300, 1000), (400, 1333))]
)
def test_images_are_resized_by_the_published_rule(size, wanted):
    # 640 * 800 / 427 = 1199.06; 640 * 800 / 480 = 1066.67 rounds up where torchvision cuts to 1066
    assert resized_sides(*size) == wanted


def test_transform_scales_boxes_and_masks_with_the_image_and_takes_images_without_objects():
    transform = DetectionTransform(min_size=64, max_size=200).train()
    masks = torch.zeros(1, 32, 48, dtype=torch.uint8)
    masks[0, 8:16, 12:24] = 1
    some = {"boxes": torch.tensor([[12.0, 8, 24, 16]]), "labels": torch.tensor([1]), "masks": masks}
    none = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64), "masks": masks[:0]}
    batch, (first, second) = transform([torch.rand(3, 32, 48)] * 2, [some, none])
    assert batch.tensors.shape == (2, 3, 64, 96) and batch.image_sizes == [(64, 96)] * 2
    assert first["boxes"].tolist() == [[24, 16, 48, 32]] and int(first["masks"].sum()) == 4 * int(masks.sum())
    assert second["masks"].shape == (0, 64, 96)
    assert some["boxes"].tolist() == [[12, 8, 24, 16]]  # the caller's targets stay


def test_normalisation_is_imagenets_or_what_is_asked_for():
    picture = torch.full((3, 64, 64), 168 / 255)
    published = DetectionTransform(64, 64)([picture])[0].tensors[0, :, 0, 0]
    torch.testing.assert_close(published, torch.tensor([44.325 / 58.395, 51.72 / 57.12, 64.47 / 57.375]))
    own = DetectionTransform(64, 64, mean=[128] * 3, std=[40] * 3)([picture])[0].tensors
    torch.testing.assert_close(own, torch.ones(1, 3, 64, 64))


def test_training_sizes_are_drawn_or_left_alone():
    image = torch.rand(3, 32, 32)
    drawn = {DetectionTransform(64, 200, [40, 48]).train()([image])[0].image_sizes[0] for _ in range(20)}
    assert drawn == {(40, 40), (48, 48)}
    assert DetectionTransform(64, 200, []).train()([image])[0].image_sizes == [(32, 32)]
    assert DetectionTransform(64, 200, []).eval()([image])[0].image_sizes == [(64, 64)]


def test_a_full_mask_is_pasted_onto_the_pixels_whose_centres_the_box_holds():
    boxes = torch.tensor([[2.0, 3, 7, 9], [-4, -4, 3, 2], [30, 30, 40, 40]])
    pasted = paste_masks(torch.ones(3, 1, 28, 28), boxes, (10, 12))
    wanted = torch.zeros(3, 10, 12, dtype=torch.bool)
    wanted[0, 3:9, 2:7] = True
    wanted[1, 0:2, 0:3] = True
    assert torch.equal(pasted, wanted)
    assert paste_masks(torch.ones(0, 1, 28, 28), boxes[:0], (10, 12)).shape == (0, 10, 12)


def test_mask_targets_are_the_boxes_part_of_the_mask():
    masks = torch.zeros(2, 56, 56, dtype=torch.uint8)
    masks[1, 14:28, 14:42] = 1
    targets = mask_targets(masks, torch.tensor([1, 0]), torch.tensor([[14.0, 14, 42, 42]] * 2), 28)
    wanted = torch.zeros(28, 28)
    wanted[:14] = 1
    assert torch.equal(targets[0], wanted) and targets[1].sum() == 0
