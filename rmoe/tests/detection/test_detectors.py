"""Mask R-CNN and Cascade Mask R-CNN as a whole: losses fall, images without objects, backbones, experts, bad targets."""

import pytest
import small_models
import torch
from torch.nn import functional

from rmoe.models import CvTBackbone
from rmoe.models.detection import mask_rcnn
from rmoe.models.detection.roi import Samples
from rmoe.moe import auxiliary_losses, convert, moe_layers
from shared_utils import UserError

MODELS = pytest.mark.parametrize("make", [small_models.detector, small_models.cascade])


def images(count=2, size=(64, 64)):
    return [torch.rand(3, *size) for _ in range(count)]


@MODELS
def test_losses_fall_and_every_parameter_has_a_gradient(make):
    model = make().train()
    optimiser = torch.optim.AdamW(model.parameters(), 3e-3)
    pictures, targets = images(), small_models.targets()
    totals = []
    for _ in range(8):
        total = sum(model(pictures, targets).values())
        optimiser.zero_grad()
        total.backward()
        optimiser.step()
        totals.append(total.item())
    assert totals[-1] < 0.8 * totals[0]
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@MODELS
def test_images_without_objects_give_finite_losses_and_gradients(make):
    model = make().train()
    _, none = small_models.targets()
    terms = model(images(), [none, none])
    sum(terms.values()).backward()
    assert all(term.isfinite() for term in terms.values())
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@MODELS
def test_detections_are_in_the_original_pixels(make):
    model = make(score_threshold=0.0, detections=20).eval()
    with torch.no_grad():
        first, second = model([torch.rand(3, 50, 70), torch.rand(3, 33, 20)])
    assert first["masks"].shape[1:] == (50, 70) and second["masks"].shape[1:] == (33, 20)
    for found, (height, width) in ((first, (50, 70)), (second, (33, 20))):
        assert len(found["boxes"]) == len(found["labels"]) == len(found["scores"]) == len(found["masks"]) == 20
        assert found["boxes"][:, 2].max() <= width + 1e-3 and found["boxes"][:, 3].max() <= height + 1e-3
        assert found["labels"].min() >= 1 and found["labels"].max() <= 3
        assert found["masks"].dtype == torch.bool
        assert torch.equal(found["scores"], found["scores"].sort(descending=True).values)


@MODELS
def test_nothing_above_the_threshold_is_an_empty_detection(make):
    model = make(score_threshold=1.0).eval()
    with torch.no_grad():
        (found,) = model(images(1))
    assert len(found["boxes"]) == 0 and found["masks"].shape == (0, 64, 64)


@pytest.mark.parametrize("extra_level", ["none", "pool"])
def test_cvt_serves_with_three_maps_and_with_four(extra_level):
    backbone = CvTBackbone(extra_level, dims=(8, 16, 32), num_heads=(1, 1, 2), depths=(1, 1, 1))
    sizes = {"min_size": 64, "max_size": 96, "proposals": 30, "rpn_samples": 16, "samples": 16}
    model = mask_rcnn(backbone, 3, 8, 16, **sizes)
    assert model.neck.strides == ([4, 8, 16, 32] if extra_level == "none" else [4, 8, 16, 32, 64])
    terms = model.train()(images(), small_models.targets())
    assert all(term.isfinite() for term in terms.values())


def test_conversion_keeps_the_detections_and_experts_get_gradients():
    model, pictures = small_models.detector(score_threshold=0.0, detections=10).eval(), images(1)
    with torch.no_grad():
        (dense,) = model(pictures)
        convert(model.backbone, experts=4)
        (mixture,) = model.eval()(pictures)
    torch.testing.assert_close(mixture["boxes"], dense["boxes"], rtol=1e-4, atol=1e-3)
    assert torch.equal(mixture["labels"], dense["labels"])
    terms = model.train()(images(), small_models.targets())
    (sum(terms.values()) + 0.01 * auxiliary_losses(model)["importance"]).backward()
    for _, layer in moe_layers(model):
        assert layer.residual.fc2_weight.grad.abs().sum() > 0


def test_padding_of_the_batch_is_left_out_of_the_experts_statistics():
    model = small_models.detector(mask_padding=True, train_sizes=[])
    convert(model.backbone, experts=4)
    pictures = [torch.rand(3, 64, 64), torch.rand(3, 64, 32)]
    first, none = small_models.targets()
    none["masks"] = torch.zeros(0, 64, 32)
    model.train()(pictures, [first, none])
    _, layer = next(moe_layers(model))
    assert layer.routing.counted.float().mean() == 0.75


def test_l1_loss_counts_all_samples_and_the_objects_class_alone():
    heads = small_models.detector().roi_heads
    proposals, truth = torch.tensor([[0.0, 0, 10, 10], [5, 5, 20, 30]]), torch.tensor([[1.0, 1, 9, 11], [5, 5, 20, 30]])
    row, labels = torch.zeros(2, dtype=torch.int64), torch.tensor([2, 0])
    samples = Samples([proposals], [labels], [row], [truth], [row.bool()])
    deltas, logits = torch.randn(2, 16), torch.randn(2, 4)
    losses = heads.box_losses(logits, deltas, samples)
    target = heads.box_coder.encode_single(truth[:1], proposals[:1])[0]
    torch.testing.assert_close(losses["loss_box_reg"], (deltas[0, 8:12] - target).abs().sum() / 2)
    torch.testing.assert_close(losses["loss_classifier"], functional.cross_entropy(logits, labels))


def test_giou_loss_is_zero_for_the_right_box_and_ten_times_the_published_formula():
    heads = small_models.cascade().roi_heads.stages[0]
    proposals, truth = torch.tensor([[0.0, 0, 10, 10]]), torch.tensor([[20.0, 0, 30, 10]])
    row, labels = torch.zeros(1, dtype=torch.int64), torch.tensor([1])
    samples = Samples([proposals], [labels], [row], [truth], [row.bool()])
    deltas = torch.zeros(1, 16)
    apart = heads.box_losses(torch.zeros(1, 4), deltas, samples)["loss_box_reg"]
    # boxes apart: IoU 0, hull 300, union 200: GIoU = -1/3
    torch.testing.assert_close(apart, torch.tensor(10 * (1 + 1 / 3)), rtol=1e-4, atol=0)
    deltas[0, 4:8] = heads.box_coder.encode_single(truth, proposals)[0]
    assert heads.box_losses(torch.zeros(1, 4), deltas, samples)["loss_box_reg"].abs() < 1e-4


def test_a_cascades_scores_are_the_softmax_of_the_mean_logits():
    model = small_models.cascade(score_threshold=0.0, detections=1000, nms_threshold=1.0).eval()
    stages = model.roi_heads.stages
    logits = []
    for stage in stages:
        stage.predict_boxes = lambda features, boxes, stage=stage: (
            logits.append(torch.randn(len(boxes[0]), 4)) or logits[-1],
            torch.zeros(len(boxes[0]), 16),
        )
    features = {str(i): torch.randn(1, 8, 64 // s, 64 // s) for i, s in enumerate((4, 8, 16, 32))}
    (found,), _ = model.roi_heads(features, [torch.tensor([[0.0, 0, 20, 20], [8, 8, 40, 60]])], [(64, 64)])
    wanted = torch.stack(logits).mean(0).softmax(1)[:, 1:].flatten().sort(descending=True).values
    torch.testing.assert_close(found["scores"], wanted)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"boxes": torch.tensor([[5.0, 5, 5, 9], [0, 0, 4, 4]])}, "box without area"),
        ({"labels": torch.tensor([0, 1])}, "label outside 1 to 3"),
        ({"masks": torch.zeros(2, 32, 64)}, "expected"),
        ({"masks": None}, "needs boxes, labels and masks"),
    ],
)
def test_wrong_targets_are_named(change, message):
    first, second = small_models.targets()
    with pytest.raises(UserError, match=message):
        small_models.detector().train()(images(), [{**first, **change}, second])


def test_training_without_targets_is_refused():
    with pytest.raises(UserError, match="needs the targets"):
        small_models.detector().train()(images())
