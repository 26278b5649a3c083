"""The two-token network, its control and the detector's network: shapes, symmetries, what does not fit."""

import pytest
import torch

from ict_deepfake.models.binary import BinaryNetwork
from ict_deepfake.models.ict import ICT
from ict_deepfake.models.retinaface import RetinaFace
from shared_utils import UserError

SMALL = {"img_size": 16, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 3}


def pictures(count=4, size=16):
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def test_the_published_network_has_the_published_size():
    with torch.device("meta"):
        model = ICT()
    assert sum(value.numel() for value in [*model.parameters(), *model.buffers()]) == 21446785
    assert len([name for name in model.state_dict() if not name.endswith("num_batches_tracked")]) == 155


@pytest.mark.parametrize("stem", ["linear", "conv"])
def test_embeddings_are_unit_rows_that_do_not_depend_on_the_batch(stem):
    model = ICT(**SMALL, stem=stem).eval()
    inner, outer = model(pictures())
    assert inner.shape == outer.shape == (4, 24) and not torch.allclose(inner, outer)
    torch.testing.assert_close(torch.stack([inner, outer]).norm(dim=-1), torch.ones(2, 4))
    torch.testing.assert_close(model(pictures()[2:3]).outer[0], outer[2], atol=1e-5, rtol=1e-5)


def test_both_tokens_go_through_one_batch_norm_inner_first():
    model = ICT(**SMALL, drop_path=0.0).train()
    with torch.no_grad():
        inner, outer = model.tokens(pictures())
        model(pictures())
    expected = torch.zeros(24)
    for tokens in (inner, outer):
        expected = 0.9 * expected + 0.1 * tokens.mean(0)
    torch.testing.assert_close(model.bn.running_mean, expected)
    assert int(model.bn.num_batches_tracked) == 2


@pytest.mark.parametrize(("kind", "width"), [(ICT, 384), (BinaryNetwork, 384), (BinaryNetwork, 48)])
def test_tokens_depend_on_the_picture_before_any_training(kind, width):
    """In the published network about half of their power does; a narrow control, which would not learn else, begins no worse."""
    model = kind(img_size=32, embed_dim=width, depth=2, num_heads=4).eval()
    with torch.no_grad():
        inner, outer = model.tokens(pictures(32, 32))
    for tokens in (inner, outer):
        assert float(tokens.var(0).sum() / tokens.square().mean(0).sum()) > 0.25


def test_attention_maps_of_the_two_tokens_sum_to_one():
    maps = ICT(**SMALL).eval().attention(pictures())
    assert maps.shape == (4, 2, 2, 2) and (maps >= 0).all()
    torch.testing.assert_close(maps.sum((2, 3)), torch.ones(4, 2))


def test_stochastic_depth_leaves_branches_out_in_training_only():
    model = ICT(**SMALL, drop_path=0.9)
    one, two = (model.eval().tokens(pictures())[0] for _ in range(2))
    torch.testing.assert_close(one, two)
    one, two = (model.train().tokens(pictures())[0] for _ in range(2))
    assert not torch.allclose(one, two)


def test_the_control_is_of_equal_size_and_gives_one_logit():
    control, model = BinaryNetwork(**SMALL), ICT(**SMALL)
    assert control(pictures()).shape == (4,)
    sizes = [sum(value.numel() for value in each.parameters()) for each in (control, model)]
    assert abs(sizes[0] / sizes[1] - 1) < 0.01


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"img_size": 30}, "cannot be cut into patches of 8 px"),
        ({"num_heads": 5}, "cannot be shared by 5 heads"),
        ({"stem": "cubic"}, "use linear or conv"),
        ({"stem": "conv", "img_size": 18, "patch_size": 6}, "not a power of two"),
    ],
)
def test_sizes_that_do_not_fit_are_named(config, words):
    with pytest.raises(UserError, match=words):
        ICT(**{**SMALL, **config})


def test_pictures_of_another_size_are_refused():
    with pytest.raises(UserError, match=r"give \(n, 3, 16, 16\)"):
        ICT(**SMALL)(pictures(size=24))


def test_retinaface_answers_at_two_anchors_a_place():
    with pytest.raises(UserError, match="use mobile0.25 or resnet50"):
        RetinaFace("vgg")
    with torch.device("meta"):
        output = RetinaFace("resnet50").eval()(torch.zeros(1, 3, 64, 96))
    anchors = 2 * (8 * 12 + 4 * 6 + 2 * 3)
    assert [tuple(part.shape) for part in output] == [(1, anchors, 4), (1, anchors), (1, anchors, 10)]
