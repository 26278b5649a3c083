"""The segmenter: sizes, its loss and what is ignored, backbones of three maps and with experts."""

import pytest
import small_models
import torch
from torch.nn import functional

from rmoe.models import CvTBackbone
from rmoe.models.segmenter import segmentation_loss, upernet
from rmoe.moe import auxiliary_losses, convert, moe_layers
from shared_utils import UserError


def test_logits_are_at_the_images_size_or_the_one_asked_for():
    model = small_models.segmenter().eval()
    images = torch.randn(1, 3, 50, 37)
    assert model(images).shape == (1, 5, 50, 37)
    assert model(images, (100, 74)).shape == (1, 5, 100, 74)


@pytest.mark.parametrize("ignore_in_mean", [True, False])
def test_where_all_is_ignored_the_loss_is_zero_with_zero_gradients(ignore_in_mean):
    model = small_models.segmenter(ignore_in_mean=ignore_in_mean)
    terms = model.losses(torch.randn(2, 3, 32, 32), torch.full((2, 32, 32), 255))
    sum(terms.values()).backward()
    assert all(term.item() == 0 for term in terms.values())
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert gradients and all((gradient == 0).all() for gradient in gradients)


def test_the_published_mean_counts_ignored_pixels_and_the_other_does_not():
    logits, labels = torch.randn(2, 5, 8, 8), torch.randint(0, 5, (2, 8, 8))
    labels[0] = 255
    plain = functional.cross_entropy(logits, labels, ignore_index=255)
    torch.testing.assert_close(segmentation_loss(logits, labels, ignore_in_mean=False), plain)
    torch.testing.assert_close(segmentation_loss(logits, labels), plain / 2)


def test_the_loss_is_the_main_heads_and_the_weighted_auxiliary_heads():
    model, images = small_models.segmenter().eval(), torch.randn(2, 3, 32, 32)
    labels = torch.randint(0, 5, (2, 32, 32))
    terms, maps = model.losses(images, labels), model.features(images)
    torch.testing.assert_close(terms["loss_main"], segmentation_loss(model.decode_head(maps), labels))
    auxiliary = segmentation_loss(model.auxiliary_head(maps), labels)
    torch.testing.assert_close(terms["loss_auxiliary"], 0.4 * auxiliary)


def test_a_label_beyond_the_classes_is_named():
    with pytest.raises(UserError, match="value 5: the model has classes 0 to 4"):
        small_models.segmenter().losses(torch.randn(2, 3, 32, 32), torch.full((2, 32, 32), 5))


@pytest.mark.parametrize("extra_level", ["none", "pool"])
def test_cvt_serves_with_three_maps_and_with_four(extra_level):
    backbone = CvTBackbone(extra_level, dims=(8, 16, 32), num_heads=(1, 1, 2), depths=(1, 1, 1))
    model = upernet(backbone, 5, channels=8, auxiliary_channels=8)
    terms = model.losses(torch.randn(2, 3, 48, 40), torch.randint(0, 5, (2, 48, 40)))
    assert all(term.isfinite() for term in terms.values())


def test_conversion_keeps_the_whole_models_function_and_experts_get_gradients():
    model, images = small_models.segmenter().eval(), torch.randn(2, 3, 40, 40)
    with torch.no_grad():
        dense = model(images)
        convert(model.backbone, experts=4)
        torch.testing.assert_close(model.eval()(images), dense, rtol=1e-5, atol=1e-5)
    model.train()
    terms = model.losses(images, torch.randint(0, 5, (2, 40, 40)))
    (sum(terms.values()) + 0.01 * auxiliary_losses(model)["importance"]).backward()
    for _, layer in moe_layers(model):
        assert layer.residual.fc1_weight.grad.abs().sum() > 0 and layer.router.weight.grad.abs().sum() > 0


def test_padding_is_left_out_of_the_experts_statistics():
    model = small_models.segmenter(mask_padding=True)
    convert(model.backbone, experts=4)
    padding = torch.zeros(2, 64, 64, dtype=torch.bool)
    padding[:, :, 32:] = True
    model.losses(torch.randn(2, 3, 64, 64), torch.randint(0, 5, (2, 64, 64)), padding)
    _, layer = next(moe_layers(model))
    assert layer.routing.counted.float().mean() == 0.5
