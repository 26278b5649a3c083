"""``evaluate``, ``predict`` and ``inspect_experts``: what they write, and that they continue."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from models_on_disk import coco, mosaic_predictor, picture, released
from PIL import Image

from rmoe import pretrained, scoring
from rmoe.commands import evaluate, inspect_experts, predict
from rmoe.data.mosaic import Mosaic
from rmoe.description import build
from rmoe.moe import moe_layers
from rmoe.predictors import predictor

pytestmark = pytest.mark.usefixtures("scratch")


@pytest.fixture
def model():
    given = mosaic_predictor()
    given.save_pretrained("model")
    return given


def test_a_segmenter_is_evaluated_and_continued(model, capsys):
    assert evaluate.main(["--ckpt", "model", "--limit", "10", "--out", "out"]) == 0
    found = json.loads(Path("out/metrics.json").read_text())
    assert found["images"] == 10 and 0 <= found["mIoU"] <= 100
    for name in ("by_class.csv", "by_class.md", "by_class.png", "panels.png"):
        assert Path("out", name).is_file()
    parts = sorted(Path("out/parts").glob("*.npz"))
    assert len(parts) == 2
    kept = parts[0].stat().st_mtime_ns
    parts[-1].unlink()
    assert evaluate.main(["--ckpt", "model", "--limit", "10", "--out", "out", "--resume"]) == 0
    assert parts[0].stat().st_mtime_ns == kept and json.loads(Path("out/metrics.json").read_text()) == found
    assert evaluate.main(["--ckpt", "model", "--limit", "11", "--out", "out", "--resume"]) == 2
    assert "limit 10, now 11" in capsys.readouterr().err


def test_a_detector_is_evaluated_on_any_coco_json(capsys):
    released("mask_rcnn", "m.pth")
    coco("data")
    assert evaluate.main(["--ckpt", "m.pth", "--data", "data", "--out", "out"]) == 0
    found = json.loads(Path("out/metrics.json").read_text())
    assert {"box AP", "mask AP", "mask AR100"} <= set(found)
    rows = Path("out/by_class.csv").read_text().splitlines()
    assert rows[0] == "class,box AP,mask AP" and rows[1].startswith("thing 3")


def test_a_detector_of_the_procedural_default_is_evaluated_on_test_images_of_the_size_it_was_trained_on():
    options = {"channels": 8, "width": 16, "proposals": 8, "min_size": 32, "max_size": 32}
    options |= {"mean": [128.0] * 3, "std": [40.0] * 3}
    network = {"task": "detection", "backbone": {"name": "mosaic_net"}, "detector": "mask_rcnn"}
    network |= {"detector_options": options, "num_classes": 8}
    mosaic = {"seed": 3, "instance_size": 32, "objects": 2, "object_sides": [8, 16]}
    description = pretrained.Description(network, None, mosaic)
    given = predictor(build(description), description)
    given.save_pretrained("detector")
    made = scoring.scoring(pretrained.load("detector"), scoring.Options(limit=2))
    drawn, _ = Mosaic(**mosaic).instances("test", 1)
    assert torch.equal(made.image(1), torch.from_numpy(drawn).permute(2, 0, 1).float())
    assert {each["id"] for each in made.truth["images"]} == {1, 2}
    assert given.normalisation == (pytest.approx((128.0,) * 3), pytest.approx((40.0,) * 3))


def test_predictions_are_a_colour_map_an_index_and_expert_maps(model):
    picture("in/a.png", 32, 40)
    picture("in/deep/b.jpg", 32, 32, 1)
    assert predict.main(["in", "--ckpt", "model", "--experts", "--out", "out"]) == 0
    index = np.array(Image.open("out/a_index.png"))
    assert index.shape == (32, 40)
    assert np.array_equal(index, model(torch.from_numpy(np.array(Image.open("in/a.png"))).permute(2, 0, 1)).numpy())
    assert Image.open("out/a_colour.png").size == (40, 32) and Path("out/deep/b_index.png").is_file()
    assert Image.open("out/a_experts_backbone.blocks.1.mlp.png").size == (40, 32)


def test_predictions_of_a_detector_are_json_and_an_overlay():
    released("mask_rcnn", "m.pth")
    picture("a.png", 32, 40)
    assert predict.main(["a.png", "--ckpt", "m.pth", "--out", "out", "--score", "0.0"]) == 0
    found = json.loads(Path("out/a.json").read_text())
    assert (found["height"], found["width"]) == (32, 40) and Path("out/a_overlay.png").is_file()
    assert all({"bbox", "score", "segmentation", "class"} == set(each) for each in found["objects"])


def test_a_router_that_routes_by_position_is_seen_in_the_map(model):
    """Experts by the left and the right half: the map has exactly two colours there (acceptance 20)."""
    (_, layer), net = next(iter(moe_layers(model.model))), model.model.backbone
    with torch.no_grad():
        for block in net.blocks:
            block.attn.proj.weight.zero_(), block.attn.proj.bias.zero_()
        net.patch_embed.weight.zero_(), net.patch_embed.bias.zero_()
        net.position.zero_()
        net.position[:, 0, :, :4], net.position[:, 1, :, 4:] = 5, 5
        net.blocks[0].mlp.fc2.weight.zero_(), net.blocks[0].mlp.fc2.bias.zero_()
        layer.router.weight.zero_()
        layer.router.weight[2, 0], layer.router.weight[3, 1] = 5, 5
    model.save_pretrained("by_position")
    (found,) = pretrained.load("by_position").expert_maps(torch.zeros(3, 32, 32)).values()
    assert (found[:, :16] == 2).all() and (found[:, 16:] == 3).all()
    assert inspect_experts.main(["--ckpt", "by_position", "--limit", "4", "--out", "out"]) == 0
    rows = [line.split(",") for line in Path("out/experts.csv").read_text().splitlines()]
    load = [float(row[rows[0].index("load")]) for row in rows[1:]]
    assert load == [0, 0, 0.5, 0.5]
    for name in ("layers.csv", "load.png", "experts.png"):
        assert Path("out", name).is_file()
    picture("a.png", 32, 32)
    assert inspect_experts.main(["--ckpt", "model", "--data", "a.png", "--out", "plain"]) == 0
