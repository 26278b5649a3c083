"""Dense layers of any module become mixtures and dense layers again, and the model computes the same throughout."""

import copy

import pytest
import torch
from torch import nn

from rmoe.models import backbone, classifier
from rmoe.moe import (
    FeedForward,
    ResidualMoE,
    apply_description,
    convert,
    dense_state_dict,
    describe,
    find_feed_forwards,
    moe_layers,
    to_dense,
)
from shared_utils import UserError


class TimmMlp(nn.Module):
    """The structure of ``timm.layers.Mlp``."""

    def __init__(self, dim, hidden, norm=None):
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.act = nn.GELU()
        self.drop1 = nn.Dropout(0.1)
        self.norm = nn.Identity() if norm is None else norm
        self.fc2 = nn.Linear(hidden, dim)
        self.drop2 = nn.Dropout(0.2)

    def forward(self, x):
        return self.drop2(self.fc2(self.norm(self.drop1(self.act(self.fc1(x))))))


class Upside(TimmMlp):
    """Has the parts of a feed-forward layer and computes something else with them."""

    def forward(self, x):
        return super().forward(x) + x


def torchvision_mlp(dim, hidden):
    """The structure of ``torchvision.ops.MLP``."""
    return nn.Sequential(nn.Linear(dim, hidden), nn.ReLU(), nn.Dropout(0.1), nn.Linear(hidden, dim), nn.Dropout(0.1))


class Block(nn.Module):
    def __init__(self, mlp):
        super().__init__()
        self.norm, self.mlp = nn.LayerNorm(8), mlp

    def forward(self, x):
        return x + self.mlp(self.norm(x))


def transformer(make, depth=4):
    return nn.Sequential(nn.Linear(3, 8), *(Block(make(8, 16)) for _ in range(depth)), nn.Linear(8, 2)).eval()


@pytest.mark.parametrize("make", [FeedForward, TimmMlp, torchvision_mlp], ids=["ours", "timm", "torchvision"])
def test_any_module_converts_and_comes_back_strictly(make):
    model = transformer(make)
    dense, x = copy.deepcopy(model), torch.randn(2, 5, 3)
    names = convert(model, "all", experts=4, capacity_factor=0.1)
    assert names == list(find_feed_forwards(dense)) and len(names) == 4
    torch.testing.assert_close(model(x), dense(x), rtol=1e-5, atol=1e-6)
    with torch.no_grad():
        for _, layer in moe_layers(model):
            layer.residual.fc1_weight.normal_()
    assert (model(x) - dense(x)).abs().max() > 1e-3
    copy.deepcopy(dense).load_state_dict(dense_state_dict(model), strict=True)
    back = to_dense(model)
    assert torch.equal(back(x), dense(x))
    assert [type(module) for module in back.modules()] == [type(module) for module in dense.modules()]


@pytest.mark.parametrize("gate", ["straight_through", "normalized", "residual"])
def test_real_torchvision_swin_keeps_its_function(gate):
    swin = pytest.importorskip("torchvision.models.swin_transformer")
    # swin_t's structure and depths at a quarter of its width.
    model = swin.SwinTransformer([4, 4], 24, [2, 2, 6, 2], [1, 2, 4, 8], [7, 7]).eval()
    x = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        wanted = model(x)
        names = convert(model, gate=gate)
        torch.testing.assert_close(model(x), wanted, rtol=1e-5, atol=1e-5)
    assert names == [f"features.5.{block}.mlp" for block in (1, 3, 5)] + ["features.7.1.mlp"]


@pytest.mark.parametrize(("name", "size"), [("swin_t", (36, 50)), ("cvt_13", (32, 40))])
def test_whole_backbones_keep_their_function_in_training_and_evaluation(name, size):
    model = backbone(name, drop_path_rate=0.0).double()
    converted = copy.deepcopy(model)
    names = convert(converted, experts=4, k=2, capacity_factor=0.5, eval_capacity_factor=0.5)
    x = torch.randn(1, 3, *size, dtype=torch.float64)
    for training in (True, False):
        with torch.no_grad():
            for found, wanted in zip(converted.train(training)(x), model.train(training)(x), strict=True):
                torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-10)
    places = {"swin_t": [(2, 1), (2, 3), (2, 5), (3, 1)], "cvt_13": [(2, block) for block in (1, 3, 5, 7, 9)]}[name]
    pattern = "layers.{}.blocks.{}.mlp" if name == "swin_t" else "stage{}.blocks.{}.mlp"
    assert names == [pattern.format(*place) for place in places]


def test_function_is_not_kept_with_the_published_gate():
    """The negative control on a whole model."""
    model = classifier("swin_t", num_classes=5, image_size=32, embed_dim=24, num_heads=(1, 2, 4, 8)).eval()
    x = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        wanted = model(x)
        convert(model, gate="prob")
        assert (model(x) - wanted).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("blocks", "wanted"),
    [
        ("layers.2.blocks.[13].mlp", [(2, 1), (2, 3)]),
        ("layers.0.*, layers.3.blocks.1.mlp", [(0, 0), (0, 1), (3, 1)]),
        ([[], [1], [], [0]], [(1, 1), (3, 0)]),
        ("last2", [(2, 0), (2, 1), (2, 2), (2, 3), (3, 0), (3, 1)]),
        ("stage4", [(3, 0), (3, 1)]),
        ("every2_last2", [(2, 1), (2, 3), (3, 1)]),
    ],
)
def test_blocks_are_chosen_by_pattern_list_or_preset(blocks, wanted):
    model = backbone("swin_t", embed_dim=8, depths=(2, 2, 4, 2), num_heads=(1, 1, 2, 2))
    assert convert(model, blocks, experts=2) == [f"layers.{stage}.blocks.{block}.mlp" for stage, block in wanted]


def test_blocks_keep_their_numbers_when_others_are_converted():
    model = backbone("swin_t", embed_dim=8, depths=(2, 2, 4, 2), num_heads=(1, 1, 2, 2))
    convert(model, [[], [], [1]], experts=2)
    assert convert(model, [[], [], [3]], experts=2) == ["layers.2.blocks.3.mlp"]
    with pytest.raises(UserError, match="is a mixture of experts already"):
        convert(model, [[], [], [3]])


@pytest.mark.parametrize(
    ("blocks", "words"),
    [
        ([[], [], [7]], "block 7 of stage 2, which has blocks 0 to 3"),
        ([[], [], [], [], [0]], "block 0 of stage 4, which does not exist"),
        ("layers.9.*", "no feed-forward layer is called 'layers.9.*'"),
        ([[], []], "choose none"),
    ],
)
def test_blocks_that_do_not_exist_are_named(blocks, words):
    model = backbone("swin_t", embed_dim=8, depths=(2, 2, 4, 2), num_heads=(1, 1, 2, 2))
    before = [type(module) for module in model.modules()]
    with pytest.raises(UserError, match=words):
        convert(model, blocks)
    assert [type(module) for module in model.modules()] == before


def test_what_computes_something_else_is_refused():
    model = transformer(Upside)
    with pytest.raises(UserError, match="computes something else"):
        convert(model, "all")
    assert not any(isinstance(module, ResidualMoE) for module in model.modules())


def test_what_is_no_feed_forward_layer_is_not_found():
    assert not find_feed_forwards(nn.Sequential(TimmMlp(8, 16, nn.LayerNorm(16)), nn.TransformerEncoderLayer(8, 2)))
    with pytest.raises(UserError, match="no feed-forward layer"):
        convert(nn.Sequential(nn.Linear(2, 2)))


def test_more_choices_than_experts_name_the_layer():
    with pytest.raises(UserError, match=r"1\.mlp cannot be converted: k = 5 experts a token of 2"):
        convert(transformer(FeedForward), "1.mlp", experts=2, k=5)


def test_a_description_makes_the_same_layers_again():
    model = transformer(TimmMlp)
    convert(model, "1.mlp", experts=3, residual_rank=2, overflow="next")
    convert(model, "3.mlp", experts=5, k=2, param="merged", balance="bias")
    again = apply_description(transformer(TimmMlp), describe(model))
    again.load_state_dict(model.state_dict(), strict=True)
    x = torch.randn(2, 5, 3)
    assert torch.equal(again.eval()(x), model.eval()(x))
    assert describe(again) == describe(model)


def test_dropouts_and_precision_are_inherited():
    layer = transformer(TimmMlp).double()
    convert(layer, "all", experts=2)
    for _, mixture in moe_layers(layer):
        assert mixture.dropout == (0.1, 0.2)
        assert all(parameter.dtype == torch.float64 for parameter in mixture.parameters())


def test_merged_mixture_without_a_core_does_not_become_dense():
    model = transformer(FeedForward)
    convert(model, "1.mlp", param="merged", overflow="zero")
    with pytest.raises(UserError, match=r"1\.mlp has no core"):
        to_dense(model)
