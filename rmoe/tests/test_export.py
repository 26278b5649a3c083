"""What is exported computes what the model computes: dense, merged, tutel's files, programs."""

import pytest
import torch
from models_on_disk import MOE, mosaic_predictor, released, small_upernet
from torch import nn

from rmoe import deployment, pretrained
from rmoe.commands import export
from rmoe.conversion import largest_difference
from rmoe.models import SwinMoE
from rmoe.moe import convert, dense_state_dict, factor, moe_layers
from rmoe.moe.convert import from_feed_forward
from rmoe.moe.feed_forward import FeedForward
from rmoe.predictors import predictor
from rmoe.published.swin_moe import gather

pytestmark = pytest.mark.usefixtures("scratch")


@pytest.fixture
def given():
    made = mosaic_predictor(experts=2, hidden=4)
    made.save_pretrained("model")
    return made


@pytest.fixture
def one_block():
    """What exporters take apart operation by operation: no more of it than the test needs."""
    made = mosaic_predictor(experts=2, hidden=4, depth=1)
    made.save_pretrained("model")
    return made


@pytest.mark.parametrize("to", ["pretrained", "merged", "dense"])
def test_a_folder_comes_back(to, given, capsys):
    assert export.main(["--ckpt", "model", "--to", to, "--out", "out"]) == 0
    again = pretrained.load("out")
    if to == "dense":
        assert not again.has_experts
        again.model.load_state_dict(dense_state_dict(given.model), strict=True)
        assert "from the mixture, whose residuals are dropped, by" in capsys.readouterr().out
    else:
        assert largest_difference(given, again) < 1e-5
        assert [layer.param for _, layer in moe_layers(again.model)] == ["merged" if to == "merged" else "factored"]


def test_merged_and_factored_again_is_the_same(given):
    assert export.main(["--ckpt", "model", "--to", "merged", "--out", "out"]) == 0
    again = pretrained.load("out")
    factor(again.model)
    assert largest_difference(given, again) < 1e-5


@pytest.mark.parametrize("ranks", [1, 2])
def test_tutel_files_hold_whole_experts_with_the_hidden_units_first(ranks, given):
    assert export.main(["--ckpt", "model", "--to", "tutel", "--out", "t.pth", "--ranks", str(ranks)]) == 0
    names = ["t.pth"] if ranks == 1 else ["t.pth.rank0", "t.pth.rank1"]
    state = gather([torch.load(name, weights_only=True)["model"] for name in names])
    (_, layer), prefix = next(iter(moe_layers(given.model))), "backbone.blocks.1.mlp._moe_layer."
    weights = layer.expert_weights()
    assert torch.equal(state[f"{prefix}experts.batched_fc1_w"], weights.fc1_weight)
    assert torch.equal(state[f"{prefix}experts.batched_fc2_w"], weights.fc2_weight.transpose(1, 2))


def test_a_swin_moe_goes_out_and_comes_in():
    model = SwinMoE(**MOE)
    released("swin_moe", "x.pth")
    given = pretrained.load("x.pth", 64)
    assert export.main(["--ckpt", "x.pth", "--to", "pretrained", "--out", "folder"]) == 0
    assert export.main(["--ckpt", "folder", "--to", "tutel", "--out", "again.pth", "--ranks", "4"]) == 0
    again = pretrained.load("again.pth", 64)
    assert all(torch.equal(v, again.model.state_dict()[n]) for n, v in given.model.state_dict().items())
    assert isinstance(again.model, type(model))


def test_a_program_of_torch_export_has_the_preprocessing_inside(one_block):
    assert export.main(["--ckpt", "model", "--to", "torch_export", "--out", "a.pt2"]) == 0
    values = torch.randn(1, 3, 32, 32)
    found = torch.export.load("a.pt2").module()(128 + 40 * values)
    with torch.no_grad():
        torch.testing.assert_close(found, one_block.model(values), rtol=1e-4, atol=1e-4)


def test_onnx_computes_the_same(one_block):
    reference = pytest.importorskip("onnx.reference", reason="onnx is not installed")
    pytest.importorskip("onnxscript", reason="onnxscript is not installed")
    assert export.main(["--ckpt", "model", "--to", "onnx", "--out", "a.onnx"]) == 0
    values = torch.randn(1, 3, 32, 32)
    (found,) = reference.ReferenceEvaluator("a.onnx").run(None, {"image": (128 + 40 * values).numpy()})
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(found), one_block.model(values), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"gate": "prob"},
        {"gate": "residual"},
        {"k": 2},
        {"k": 2, "gate": "prob"},
        {"gate": "residual", "k": 2},
        {"form": "side_branch"},
        {"residual_rank": 2},
        {"param": "merged"},
        {"balance": "bias"},
    ],
    ids=str,
)
def test_plain_mixtures_compute_what_mixtures_compute(options):
    layer = from_feed_forward(FeedForward(8, 16), experts=4, router_init_std=1.0, residual_init="noise:1", **options)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        if options.get("balance"):
            layer.selection_bias.normal_()
        model = nn.Sequential(layer).eval()
        x = torch.randn(2, 5, 8)
        torch.testing.assert_close(deployment.with_plain_mixtures(model)(x), model(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--to", "merged", "--ckpt", "dense"], "has no experts to make merged"),
        (["--to", "torch_export", "--size", "[33,32]"], "33x32 is not of multiples of 4"),
        (["--to", "dense", "--ranks", "2"], "--to tutel"),
        (["--to", "tutel", "--ranks", "3"], "2 experts do not divide evenly over 3 ranks"),
        (["--to", "onnx", "--ckpt", "capacity"], "only dropless evaluation can be exported"),
        (["--to", "pickle"], "pickle"),
    ],
)
def test_what_cannot_be_exported_is_said_and_nothing_is_written(arguments, words, given, capsys):
    mosaic_predictor(0).save_pretrained("dense")
    for _, layer in moe_layers(given.model):
        layer.eval_capacity_factor = 1.0
    given.with_model(given.model).save_pretrained("capacity")
    ckpt = [] if "--ckpt" in arguments else ["--ckpt", "model"]
    assert export.main([*ckpt, *arguments, "--out", "out"]) == 2
    assert words in capsys.readouterr().err


def test_a_detector_and_a_segmenter_have_programs(given):
    model = small_upernet().eval()
    convert(model.backbone, "stage4", experts=2)
    made = predictor(model, given.description)
    image = torch.rand(1, 3, 32, 32) * 255
    with torch.no_grad():
        assert deployment.Program(made, model)(image).shape == (1, 6, 32, 32)
    released("mask_rcnn", "m.pth")
    detector = pretrained.load("m.pth")
    with torch.no_grad():
        levels = deployment.Program(detector, detector.model)(torch.rand(1, 3, 64, 64) * 255)
    assert [level.shape[-1] for level in levels] == [16, 8, 4, 2, 1]
