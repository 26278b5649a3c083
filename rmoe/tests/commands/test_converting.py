"""``convert`` on an official file proves itself, and what it writes trains; ``import_checkpoint`` takes every layout."""

import re
from pathlib import Path

import pytest
import torch
from models_on_disk import pairs, released

from rmoe import pretrained
from rmoe.commands import convert, import_checkpoint, train
from rmoe.lightning_module import SegmentationModule
from rmoe.models import classifier
from rmoe.moe import moe_layers
from shared_utils.testing import fill

pytestmark = pytest.mark.usefixtures("scratch")


def test_an_official_swin_t_is_converted_with_proof_and_trains(capsys, monkeypatch):
    state = {name: torch.from_numpy(fill(name, v.shape)) for name, v in classifier("swin_t").state_dict().items()}
    torch.save({"model": state}, "swin_tiny_patch4_window7_224.pth")
    given = ["--ckpt", "swin_tiny_patch4_window7_224.pth", "--arch", "swin_t", "--out", "rmoe_swin_t", "--verify"]
    given += ["--experts", "2"]  # of the eight of the default: files and optimiser grow with them, the proof does not
    assert convert.main(given) == 0
    printed = capsys.readouterr().out
    assert float(re.search(r"largest difference of the outputs: (\S+)", printed)[1]) <= 1e-5
    assert "layers.2.blocks.5.mlp: 2 experts, top-1; copied core.fc1.weight" in printed
    assert "new: residual.* zero, router.* drawn N(0, 0.02)" in printed
    pairs("data")
    small = ["--data.layout", "folder", "--data.crop", "64", "--data.short", "64", "--model.head_channels", "8"]
    small += ["--model.backbone", "{name: swin_t}", "--trainer.fast_dev_run", "true"]
    weights = ["--model.weights", "rmoe_swin_t", "--data.root", "data"]
    # One step: the model is looked at where it stands, for its checkpoints are a gigabyte each.
    trained = []
    monkeypatch.setattr(SegmentationModule, "on_train_end", lambda module: trained.append(module))
    assert train.main(["--config", "ade20k_sample.yaml", *weights, *small]) == 0
    (tuned,) = trained
    assert [name for name, _ in moe_layers(tuned.model)] == [
        f"backbone.layers.{stage}.blocks.{block}.mlp" for stage, block in ((2, 1), (2, 3), (2, 5), (3, 1))
    ]
    assert tuned.network["class_names"] == list("abcdef")
    start = state["layers.0.blocks.0.attn.qkv.weight"]
    moved = tuned.model.backbone.layers[0].blocks[0].attn.qkv.weight - start
    assert 0 < moved.abs().max() < 0.1


@pytest.mark.parametrize("out", ["folder", "file.pth"])
def test_what_is_converted_is_a_folder_or_a_file(out, capsys):
    released("upernet", "x.pth")
    assert (
        convert.main(["--ckpt", "x.pth", "--blocks", "[[],[],[1],[0,1]]", "--experts", "3", "--k", "2", "--out", out])
        == 0
    )
    assert "wrote" in capsys.readouterr().out
    layers = dict(moe_layers(pretrained.load(out).model))
    assert list(layers) == [f"backbone.layers.{place}.mlp" for place in ("2.blocks.1", "3.blocks.0", "3.blocks.1")]
    assert {(layer.num_experts, layer.k) for layer in layers.values()} == {(3, 2)}


def test_a_pattern_of_names_chooses_layers():
    released("swin", "x.pth")
    assert convert.main(["--ckpt", "x.pth", "--blocks", "layers.2.blocks.[01].mlp", "--out", "o"]) == 0
    assert len(dict(moe_layers(pretrained.load("o").model))) == 2


@pytest.mark.parametrize("kind", ["timm", "cascade_mask_rcnn", "swin_moe"])
def test_a_released_file_is_imported(kind, capsys):
    file, _ = released(kind, "x.pth")
    size = ["--image_size", "64"] if kind == "swin_moe" else []
    assert import_checkpoint.main([str(file), "--out", "o", *size]) == 0
    assert "entries matched" in capsys.readouterr().out
    assert pretrained.load("o").class_names and Path("o/config.json").is_file()
