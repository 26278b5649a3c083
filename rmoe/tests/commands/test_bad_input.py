"""Every mistake gives one line and status 2, and nothing is written or overwritten."""

from pathlib import Path

import pytest
import torch
from models_on_disk import coco, mosaic_predictor, pairs, picture, released, small_detector
from PIL import Image

from rmoe import pretrained
from rmoe.commands import convert, evaluate, export, import_checkpoint, inspect_experts, predict, train

pytestmark = pytest.mark.usefixtures("scratch")
OUT = ["--out", "out"]


def refused(command, arguments, words, capsys):
    before = {path: path.stat().st_mtime_ns for path in Path().rglob("*")}
    capsys.readouterr()
    assert command.main(arguments) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if "error:" in line]
    assert len(errors) == 1 and words in errors[0], errors
    after = {path: path.stat().st_mtime_ns for path in Path().rglob("*")}
    made = [
        path for path in after if after[path] != before.get(path) and path.suffix in (".png", ".json", ".pth", ".csv")
    ]
    assert [path for path in made if path.name != "job.json"] == []


@pytest.mark.parametrize(
    ("command", "arguments", "words"),
    [
        (convert, ["--ckpt", "absent.pth"], "absent.pth not found"),
        (convert, ["--ckpt", "page.pth"], "page.pth is a web page"),
        (convert, ["--ckpt", "swin.pth", "--arch", "swin_t"], "differ, patch_embed.proj.weight (8, 3, 4, 4) for (96, 3, 4, 4); "),
        (convert, ["--ckpt", "swin.pth", "--arch", "swin_x"], "the model 'swin_x' is unknown"),
        (convert, ["--ckpt", "swin.pth", "--blocks", "[[7]]"], "moe_blocks names block 7 of stage 0, which has blocks 0 to 1"),
        (convert, ["--ckpt", "swin.pth", "--blocks", "attn*"], "no feed-forward layer is called 'attn*'"),
        (convert, ["--ckpt", "swin.pth", "--k", "9"], "k = 9 experts a token of 8"),
        (convert, ["--ckpt", "swin.pth", "--gate", "prob", "--verify"], "differs by"),
        (convert, ["--ckpt", "swin.pth", "--options", "{backends: loop}"], "backends"),
        (convert, ["--ckpt", "narrow", "--blocks", "all", "--options", "{backend: grouped}", "--verify"], "dim = 30"),
        (convert, ["--ckpt", "moe"], "has experts already"),
        (import_checkpoint, ["ranks.pth"], "ranks.pth.rank1 not found"),
        (import_checkpoint, ["uper.pth", "--class_names", "names.txt"], "names.txt has 2 names, the model 6 classes"),
        (predict, ["absent"], "absent not found"),
        (predict, ["empty", "--ckpt", "moe"], "empty holds no picture"),
        (predict, ["broken.png", "--ckpt", "moe"], "broken.png cannot be read as an image"),
        (predict, ["a.png", "--ckpt", "narrow", "--experts"], "this model has no experts"),
        (predict, ["a.png", "--ckpt", "swin.pth", "--ms_flip"], "--ms_flip is for segmentation"),
        (inspect_experts, ["--ckpt", "narrow"], "this model has no experts"),
        (evaluate, ["--ckpt", "moe", "--limit", "0"], "limit must be at least 1"),
        (export, ["--ckpt", "swin.pth", "--to", "torch_export", "--size", "[32,32]"], "takes images of 64x64, not 32x32"),
    ],
)  # fmt: skip
def test_bad_input_gives_one_line_and_status_2(command, arguments, words, capsys):
    Path("empty").mkdir()
    Path("page.pth").write_text("<html>quota</html>")
    Path("broken.png").write_bytes(b"\x89PNG nothing")
    Path("names.txt").write_text("a\nb\n")
    picture("a.png")
    released("swin", "swin.pth")
    released("upernet", "uper.pth")
    released("swin_moe", "ranks.pth")
    Path("ranks.pth.rank1").rename("ranks.pth.rank2")
    mosaic_predictor().save_pretrained("moe")
    mosaic_predictor(0, dim=30, heads=3, hidden=47).save_pretrained("narrow")
    refused(command, [*arguments, *OUT], words, capsys)
    assert not Path("out").exists() or not any(Path("out").glob("*.safetensors"))


def test_what_exists_is_replaced_only_on_request(capsys):
    released("swin", "x.pth")
    mosaic_predictor().save_pretrained("moe")
    picture("a.png")
    Path("out").mkdir()
    Path("out/mine.txt").write_text("mine")
    for command, given in (
        (convert, ["--ckpt", "x.pth"]),
        (import_checkpoint, ["x.pth"]),
        (export, ["--ckpt", "moe"]),
        (predict, ["a.png", "--ckpt", "moe"]),
        (evaluate, ["--ckpt", "moe", "--limit", "2"]),
        (inspect_experts, ["--ckpt", "moe", "--limit", "2"]),
    ):
        refused(command, [*given, *OUT], "--overwrite", capsys)
    assert convert.main(["--ckpt", "x.pth", *OUT, "--overwrite"]) == 0
    assert Path("out/mine.txt").read_text() == "mine" and pretrained.load("out").has_experts


def test_data_that_do_not_fit_are_named(capsys):
    released("upernet", "x.pth")
    model = small_detector()
    pretrained.predictor(
        model,
        pretrained.Description(pretrained.load(released("mask_rcnn", "m.pth")[0]).description.network),
    ).save_pretrained("detector")
    pairs("high", highest=9)
    refused(evaluate, ["--ckpt", "x.pth", "--data", "high", *OUT], "0.png has the value 9, which no class has", capsys)
    pairs("few", classes=4)
    refused(evaluate, ["--ckpt", "x.pth", "--data", "few", "--out", "b"], "the model has 6 classes, the data 4", capsys)
    pairs("gone")
    Path("gone/val/masks/2.png").unlink()
    refused(evaluate, ["--ckpt", "x.pth", "--data", "gone", "--out", "c"], "2.png has no mask: expected", capsys)
    pairs("bad")
    Path("bad/val/images/1.png").write_bytes(b"nothing")
    refused(evaluate, ["--ckpt", "x.pth", "--data", "bad", "--out", "d"], "1.png cannot be read as an image", capsys)
    pairs("size")
    Image.new("L", (9, 9)).save("size/val/masks/0.png")
    refused(evaluate, ["--ckpt", "x.pth", "--data", "size", "--out", "e"], "0.png is 9x9, its image 64x64", capsys)
    coco("keys", categories=None)
    refused(evaluate, ["--ckpt", "detector", "--data", "keys", "--out", "f"], "has no list 'categories'", capsys)


def test_training_names_what_is_wrong(capsys):
    coco("crowd", crowd=1)
    crowd = ["--config", "coco_sample.yaml", "--data.root", "crowd"]
    refused(train, crowd, "1 of 1 annotations are crowd, none can train; --crowd-as-objects", capsys)
    refused(train, ["--config", "ade20k_sample.yaml", "--data.root", "absent"], "absent not found", capsys)
    torch.save({"a": torch.ones(1)}, "x.pth")
    pairs("data")
    given = ["--config", "ade20k_sample.yaml", "--data.root", "data", "--data.layout", "folder"]
    refused(train, [*given, "--model.weights", "x.pth"], "x.pth is of no known layout", capsys)
