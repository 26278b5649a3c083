"""Files of every published layout come in, and go out again, exactly; what does not fit is said."""

import copy
import pickle
import sys
import types

import pytest
import torch
from torch import nn

from rmoe.models import CvTClassifier, SwinBackbone, SwinClassifier, SwinMoE
from rmoe.moe import convert, factor, merge, moe_layers, to_dense
from rmoe.published import (
    build_backbone,
    build_classifier,
    build_swin_moe,
    export_swin_moe,
    export_tutel_layer,
    import_backbone,
    import_classifier,
    import_swin_moe,
    import_tutel,
    import_tutel_layer,
    recognise,
    resize_bias_table,
    to_ours,
    to_theirs,
)
from rmoe.published.swin_moe import gather, split
from shared_utils import UserError

SMALL = {"embed_dim": 8, "depths": (2, 2, 2, 2), "num_heads": (1, 1, 2, 2), "window": 4}
MOE = {**SMALL, "num_classes": 5, "image_size": 64, "moe_blocks": ((), (), (1,), (1,)), "experts": 4}


def randomised(model):
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()
    return model.eval()


def assert_same(found, wanted):
    assert list(found) == list(wanted) or set(found) == set(wanted)
    for name, value in wanted.items():
        assert torch.equal(found[name], value), name


# Round trips -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["swin", "timm", "openmmlab"])
def test_a_classifier_goes_out_and_comes_in_exactly(layout, tmp_path):
    model = randomised(SwinClassifier(5, 64, **SMALL))
    theirs = to_theirs(model.state_dict(), layout)
    assert recognise(theirs) == layout
    assert_same(to_ours(theirs, layout), model.state_dict())
    computed = ("relative_position_index", "attn_mask")
    buffers = {f"layers.0.blocks.1.attn.{name}": torch.ones(2) for name in computed}
    torch.save({"model": {**theirs, **buffers}, "epoch": 3}, tmp_path / "x.pth")
    built, report = build_classifier(tmp_path / "x.pth", image_size=64)
    assert_same(built.state_dict(), model.state_dict())
    assert report.layout == layout and not report.missing
    x = torch.randn(1, 3, 64, 64)
    assert torch.equal(built.eval()(x), model(x))


def test_merging_order_of_openmmlab_is_that_of_unfold():
    """The published converter: view [4, C], blocks [0, 2, 1, 3], transpose, flatten; and the layer then is unfold's."""
    model = SwinBackbone(**SMALL)
    merge = randomised(model.layers[0].downsample)
    theirs = to_theirs({f"layers.0.downsample.{n}": v for n, v in merge.state_dict().items()}, "openmmlab")
    x = torch.randn(2, 6, 8, 8)
    unfolded = nn.functional.unfold(x.permute(0, 3, 1, 2), 2, stride=2).transpose(1, 2)
    norm = nn.functional.layer_norm(
        unfolded, (32,), theirs["stages.0.downsample.norm.weight"], theirs["stages.0.downsample.norm.bias"]
    )
    wanted = norm @ theirs["stages.0.downsample.reduction.weight"].T
    torch.testing.assert_close(merge(x).flatten(1, 2), wanted, rtol=1e-4, atol=1e-4)


def test_dense_to_mixture_to_dense_is_exact():
    model = randomised(SwinClassifier(5, 64, **SMALL))
    before = copy.deepcopy(model.state_dict())
    convert(model, "last2", experts=3)
    assert recognise(model.state_dict()) == "rmoe"
    assert_same(to_dense(model).state_dict(), before)


def test_cvt_goes_in():
    model = randomised(CvTClassifier(5, dims=(64, 64, 128), num_heads=(1, 1, 2), depths=(1, 1, 2)))
    built, _ = build_classifier(model.state_dict())
    assert_same(built.state_dict(), model.state_dict())
    backbone, report = build_backbone({"state_dict": model.state_dict()})
    assert {name.split(".")[0] for name in report.missing} == {"norm0", "norm1", "norm2"}
    assert len(report.dropped) == 4
    assert torch.equal(backbone.stage1.blocks[0].attn.proj.weight, model.stage1.blocks[0].attn.proj.weight)


# Into other models -----------------------------------------------------------------------------------------------


def test_classifier_file_into_a_dense_backbone():
    model = randomised(SwinClassifier(5, 64, **{**SMALL, "window": 2}))
    backbone = SwinBackbone(**{**SMALL, "window": 2})
    report = import_backbone(backbone, {"model": {f"module.{n}": v for n, v in model.state_dict().items()}})
    assert sorted(report.dropped) == ["head.bias", "head.weight", "norm.bias", "norm.weight"]
    assert sorted({name.split(".")[0] for name in report.missing}) == ["norm0", "norm1", "norm2", "norm3"]
    assert "8 not in the file, started anew: norm0.weight" in str(report)
    assert torch.equal(backbone.layers[3].blocks[1].mlp.fc1.weight, model.layers[3].blocks[1].mlp.fc1.weight)


def test_another_number_of_classes_restarts_the_head_with_a_message():
    source = randomised(SwinClassifier(5, 64, **SMALL))
    model = SwinClassifier(7, 64, **SMALL)
    head = model.head.weight.detach().clone()
    report = import_classifier(model, source.state_dict())
    assert report.reinitialised == ["head.weight", "head.bias"]
    assert "started anew, for the number of classes differs: head.weight, head.bias" in str(report)
    assert torch.equal(model.head.weight, head) and torch.equal(model.norm.weight, source.norm.weight)


def test_another_window_resizes_the_bias_tables():
    source = randomised(SwinBackbone(**SMALL))
    model = SwinBackbone(**{**SMALL, "window": 7})
    report = import_backbone(model, source.state_dict())
    assert len(report.resized) == 8 and not report.missing
    smooth = torch.linspace(0, 1, 7)[:, None].expand(7, 7).reshape(49, 1)
    resized = resize_bias_table(smooth, 169).reshape(13, 13)
    assert torch.allclose(resized[:, 0], resized[:, 5]) and (resized[1:, 0] > resized[:-1, 0]).all()
    assert torch.equal(resize_bias_table(smooth, 49), smooth)


def test_another_architecture_names_what_does_not_fit_and_changes_nothing():
    source = SwinClassifier(5, 64, **{**SMALL, "embed_dim": 16})
    model = SwinClassifier(5, 64, **SMALL)
    before = copy.deepcopy(model.state_dict())
    wanted = r"my\.pth does not fit SwinClassifier.*patch_embed.proj.weight \(16, 3, 4, 4\) for \(8, 3, 4, 4\)"
    with pytest.raises(UserError, match=wanted):
        import_classifier(model, source.state_dict(), source="my.pth")
    assert_same(model.state_dict(), before)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"fc.weight": torch.ones(2)}, "no known layout"),
        ({"epoch": 3}, "holds no state dict"),
        ([1, 2], "holds no state dict"),
        ({"layers.0.blocks.0.attn.logit_scale": torch.ones(1)}, "Swin v2"),
        ({"layers.2.blocks.1.mlp.core.fc1.weight": torch.ones(1)}, "has experts"),
    ],
)
def test_content_of_another_kind_is_refused(content, words):
    with pytest.raises(UserError, match=words):
        import_backbone(SwinBackbone(**SMALL), content)


# Swin-MoE --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ranks", [1, 2, 4, 8])
@pytest.mark.parametrize("router", ["linear", "cosine"])
def test_rank_files_come_back_exactly(ranks, router, tmp_path):
    model = randomised(SwinMoE(**MOE, router=router))
    files = export_swin_moe(model, ranks)
    for rank, state in enumerate(files):
        torch.save({"model": state}, tmp_path / f"swin_moe.pth.rank{rank}")
    for source in ("swin_moe.pth", "swin_moe.pth.rank0"):
        built, report = build_swin_moe(tmp_path / source, window=4, image_size=64)
        assert_same(built.state_dict(), model.state_dict())
    assert ranks == 1 or f"{ranks} rank files" in str(report)


def test_two_experts_on_four_ranks_with_biases_of_three_dimensions(tmp_path):
    """Consecutive ranks hold slices of one expert's hidden units, and of its output bias (acceptance 9)."""
    model = randomised(SwinMoE(**{**MOE, "experts": 2}))
    (whole,) = export_swin_moe(model)
    name = "layers.2.blocks.1.mlp._moe_layer.experts.batched_fc1_w"
    for rank, state in enumerate(export_swin_moe(model, 4)):
        assert state[name].shape == (1, 64, 32)
        half = slice(64 * (rank % 2), 64 * (rank % 2) + 64)
        assert torch.equal(state[name][0], whole[name][rank // 2, half])
        state = {n: v[:, None] if "batched" in n and n.endswith("bias") else v for n, v in state.items()}
        state["layers.2.blocks.1.mlp._moe_layer._num_global_experts"] = torch.tensor(2)
        torch.save({"model": state}, tmp_path / f"x.pth.rank{rank}")
    built, _ = build_swin_moe(tmp_path / "x.pth", window=4, image_size=64)
    assert_same(built.state_dict(), model.state_dict())
    x = torch.randn(2, 3, 64, 64)
    assert torch.equal(built.eval()(x), model(x))


def test_a_missing_rank_file_is_named(tmp_path):
    for rank, state in enumerate(export_swin_moe(SwinMoE(**MOE), 4)):
        if rank != 2:
            torch.save({"model": state}, tmp_path / f"x.pth.rank{rank}")
    with pytest.raises(UserError, match=r"x\.pth\.rank2 not found: the checkpoint is in one file a rank, 0 to 3"):
        build_swin_moe(tmp_path / "x.pth")


def test_experts_that_do_not_divide_over_ranks_are_refused():
    with pytest.raises(UserError, match="4 experts do not divide evenly over 3 ranks"):
        export_swin_moe(SwinMoE(**MOE), 3)


def test_gather_undoes_split():
    (state,) = export_swin_moe(randomised(SwinMoE(**MOE)))
    assert set(gather(split(state, 2))) == set(state)


def test_a_frozen_output_bias_in_the_file_counts():
    model = SwinMoE(**MOE, mlp_fc2_bias=False)
    (state,) = export_swin_moe(randomised(SwinMoE(**MOE)))
    import_swin_moe(model, state)
    (_, layer), *_ = moe_layers(model)
    assert layer.experts.fc2_bias.abs().max() > 0 and not layer.experts.fc2_bias.requires_grad


def test_a_published_mixture_can_be_factored():
    model = randomised(SwinMoE(**MOE))
    for _, layer in moe_layers(model):
        layer.eval_capacity_factor = 0.0
    x = torch.randn(1, 3, 64, 64)
    model = model.double()
    y = model(x.double())
    factor(model)
    torch.testing.assert_close(model(x.double()), y, rtol=1e-9, atol=1e-9)


def test_tutel_layer_round_trip():
    _, layer = next(iter(moe_layers(randomised(SwinMoE(**MOE)))))
    other = copy.deepcopy(layer)
    randomised(other)
    import_tutel_layer(other, export_tutel_layer(layer))
    assert_same(other.state_dict(), layer.state_dict())


@pytest.mark.parametrize("ranks", [1, 4])
def test_a_converted_model_goes_to_tutel_and_back_exactly(ranks):
    model = SwinBackbone(**SMALL)
    convert(model, "last2", experts=4, residual_init="noise:1")
    states = export_swin_moe(model, ranks)
    assert not any(".core." in name for name in states[0])
    other = SwinBackbone(**SMALL)
    convert(other, "last2", experts=4, param="merged")
    report = import_tutel(other, states)
    assert all(".core." in name for name in report.missing) and len(report.missing) == 4 * 4
    merge(model)
    for (name, found), (_, wanted) in zip(moe_layers(other), moe_layers(model), strict=True):
        assert_same(found.experts.state_dict(), wanted.experts.state_dict())
        assert torch.equal(found.router.weight, wanted.router.weight), name


# What files may hold ---------------------------------------------------------------------------------------------


def test_a_yacs_configuration_beside_the_weights_is_read_as_values_and_never_run(tmp_path, monkeypatch):
    module = types.ModuleType("yacs.config")

    class CfgNode(dict):
        def __init__(self, *values):
            super().__init__(*values)
            self.__dict__["__immutable__"] = True

    CfgNode.__module__, CfgNode.__qualname__ = "yacs.config", "CfgNode"
    module.CfgNode = CfgNode
    monkeypatch.setitem(sys.modules, "yacs", types.ModuleType("yacs"))
    monkeypatch.setitem(sys.modules, "yacs.config", module)
    model = randomised(SwinMoE(**MOE))
    (state,) = export_swin_moe(model)
    config = CfgNode({"MODEL": CfgNode({"NAME": "swin_moe", "WINDOW": [4, 4]})})
    torch.save({"model": state, "config": config}, tmp_path / "x.pth")
    monkeypatch.delitem(sys.modules, "yacs.config")
    monkeypatch.delitem(sys.modules, "yacs")
    built, _ = build_swin_moe(tmp_path / "x.pth", window=4, image_size=64)
    assert_same(built.state_dict(), model.state_dict())


class Trap:
    """What runs when it is unpickled."""

    def __reduce__(self):
        return exec, ("raise SystemExit('a file ran code')",)


def test_a_file_that_would_run_code_is_refused(tmp_path):
    torch.save({"model": {"a": torch.ones(1)}, "trap": Trap()}, tmp_path / "x.pth", pickle_protocol=2)
    with pytest.raises(UserError, match="exec"):
        build_classifier(tmp_path / "x.pth")
    (tmp_path / "y.pth").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(UserError):
        build_swin_moe(tmp_path / "y.pth")
