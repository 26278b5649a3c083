"""CvT beyond its golden cases."""

import pytest
import torch

from rmoe.models import CvTBackbone, CvTClassifier
from rmoe.moe import convert, moe_layers

SMALL = {"dims": (8, 16, 32), "num_heads": (1, 1, 2), "depths": (1, 1, 2)}


@pytest.mark.parametrize("size", [(32, 32), (45, 70)])
def test_three_levels_or_four(size):
    for extra, count in (("none", 3), ("pool", 4)):
        model = CvTBackbone(extra, **SMALL).eval()
        maps = model(torch.randn(1, 3, *size))
        assert len(maps) == len(model.channels) == len(model.strides) == count
        for x, channels in zip(maps, model.channels, strict=True):
            assert x.shape[1] == channels and x.is_contiguous()
    assert model.strides == [4, 8, 16, 32]
    with pytest.raises(ValueError, match="extra_level 'conv'"):
        CvTBackbone("conv")


def test_one_image_keeps_its_batch_dimension():
    assert CvTClassifier(5, **SMALL).eval()(torch.randn(1, 3, 32, 32)).shape == (1, 5)


def test_scores_are_scaled_by_the_whole_width():
    model = CvTClassifier(5, **SMALL)
    assert model.stage2.blocks[0].attn.scale == 32**-0.5


def test_drop_path_grows_in_the_last_stage_from_zero():
    model = CvTClassifier(5, drop_path_rate=0.2, dims=(8, 16, 32), num_heads=(1, 1, 2), depths=(1, 2, 3))
    rates = [[block.drop_path.rate for block in getattr(model, f"stage{i}").blocks] for i in range(3)]
    assert rates == [[0], [0, 0], pytest.approx([0, 0.1, 0.2])]


def test_class_token_is_routed_too():
    model = CvTBackbone(**SMALL).eval()
    convert(model, "stage2.blocks.1.mlp", experts=2)
    model(torch.randn(2, 3, 32, 32))
    ((_, layer),) = moe_layers(model)
    assert layer.token_shape == (2, 1 + 2 * 2)
