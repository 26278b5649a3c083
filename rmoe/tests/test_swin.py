"""Swin beyond its golden cases: sizes, the shift mask, stochastic depth, frozen stages."""

import pytest
import torch

from rmoe.models import SwinBackbone, SwinClassifier, SwinMoE, backbone, classifier
from rmoe.models.drop_path import DropPath
from rmoe.models.swin import drop_path_rates, relative_position_index, shift_mask
from rmoe.moe import convert, moe_layers
from shared_utils import UserError

SMALL = {"embed_dim": 8, "depths": (2, 2, 2, 2), "num_heads": (1, 1, 2, 2)}


@pytest.mark.parametrize("size", [(32, 32), (5, 9), (57, 130)])
def test_maps_have_the_sizes_that_their_strides_say(size):
    model = SwinBackbone(**SMALL).eval()
    maps = model(torch.randn(1, 3, *size))
    for x, channels, stride in zip(maps, model.channels, model.strides, strict=True):
        assert x.shape == (1, channels, -(-size[0] // stride), -(-size[1] // stride)) and x.is_contiguous()


def test_shift_mask_lets_only_neighbours_of_the_image_attend():
    """Against the published construction, slice by slice."""
    height, width, window, shift = 12, 8, 4, 2
    regions, count = torch.zeros(height, width), 0
    for rows in (slice(0, -window), slice(-window, -shift), slice(-shift, None)):
        for columns in (slice(0, -window), slice(-window, -shift), slice(-shift, None)):
            regions[rows, columns] = count
            count += 1
    split = regions.view(3, window, 2, window).transpose(1, 2).reshape(6, -1)
    wanted = (split[:, None, :] - split[:, :, None] != 0) * -100.0
    assert torch.equal(shift_mask(height, width, window, shift, torch.device("cpu")), wanted)


def test_relative_position_index_is_that_of_the_published_code():
    coordinates = torch.stack(torch.meshgrid(torch.arange(3), torch.arange(3), indexing="ij")).flatten(1)
    relative = (coordinates[:, :, None] - coordinates[:, None, :]).permute(1, 2, 0) + 2
    assert torch.equal(relative_position_index(3), relative[..., 0] * 5 + relative[..., 1])


def test_images_of_a_batch_do_not_mix():
    model = SwinBackbone(**SMALL).double().eval()
    images = torch.randn(2, 3, 40, 60, dtype=torch.float64)
    for both, one in zip(model(images), model(images[1:]), strict=True):
        torch.testing.assert_close(both[1:], one, rtol=1e-10, atol=1e-10)


def test_drop_path_rates_grow_over_all_blocks():
    rates = drop_path_rates(0.3, (2, 2))
    assert rates == [pytest.approx([0, 0.1]), pytest.approx([0.2, 0.3])]
    model = SwinBackbone(**SMALL, drop_path_rate=0.7)
    assert [block.drop_path.rate for layer in model.layers for block in layer.blocks] == pytest.approx(
        [i / 10 for i in range(8)], abs=1e-6
    )


def test_drop_path_drops_samples_and_keeps_the_mean():
    layer = DropPath(0.25)
    y = layer(torch.ones(4000, 2))
    assert y.unique().tolist() == [0, pytest.approx(1 / 0.75)] and torch.equal(y[:, 0], y[:, 1])
    assert abs(float(y.mean()) - 1) < 0.05
    assert torch.equal(layer.eval()(torch.ones(3, 2)), torch.ones(3, 2))


def test_frozen_stages_stay_frozen_and_train_returns_the_model():
    model = SwinBackbone(**SMALL, frozen_stages=1)
    assert model.train() is model and model.eval() is model
    model.train()
    assert not model.patch_embed.training and not model.layers[0].training and model.layers[1].training
    assert not any(parameter.requires_grad for parameter in model.layers[0].parameters())


def test_padding_of_a_batch_is_left_out_of_the_statistics():
    model = SwinBackbone(**SMALL).eval()
    convert(model, "last2", experts=2)
    padding = torch.zeros(1, 64, 96, dtype=torch.bool)
    padding[:, :, 64:] = True
    model(torch.randn(1, 3, 64, 96), padding)
    assert [int(layer.routing.counted.sum()) for _, layer in moe_layers(model)] == [16, 16, 4, 4]


def test_classifier_shrinks_its_window_and_does_not_shift_a_single_one():
    model = SwinClassifier(10, image_size=64, window=7, **SMALL)
    windows = [(block.window, block.shift) for layer in model.layers for block in layer.blocks]
    assert windows == [(7, 0), (7, 3), (7, 0), (7, 3), (4, 0), (4, 0), (2, 0), (2, 0)]
    assert model.eval()(torch.randn(2, 3, 64, 64)).shape == (2, 10)
    with pytest.raises(ValueError, match="64x64, not 32x64"):
        model(torch.randn(1, 3, 32, 64))


@pytest.mark.parametrize("router", ["linear", "cosine"])
def test_swin_moe_trains(router):
    model = SwinMoE(
        5, 32, **SMALL, window=4, moe_blocks=((), (), (1,), (1,)), experts=4, router=router, mlp_fc2_bias=False
    )
    model(torch.randn(2, 3, 32, 32)).sum().backward()
    layers = [layer for _, layer in moe_layers(model)]
    assert len(layers) == 2
    for layer in layers:
        assert layer.experts.fc1_weight.grad is not None and layer.experts.fc2_bias.grad is None


def test_models_by_name():
    assert backbone("swin_t", **SMALL).channels == [8, 16, 32, 64]
    assert classifier("cvt_13", num_classes=3, depths=(1, 1, 1)).head.out_features == 3
    with pytest.raises(UserError, match="choose of swin_t"):
        backbone("resnet50")


def test_swin_t_has_the_published_number_of_parameters():
    """28.3 M with a head of 1000 classes (microsoft/Swin-Transformer, README)."""
    assert sum(parameter.numel() for parameter in classifier("swin_t").parameters()) == 28_288_354
