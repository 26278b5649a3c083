"""The commands of this half, in process, with what users get wrong."""

import csv
import subprocess
import sys
from pathlib import Path

import claim
import cv2
import degrade
import evaluate
import export
import import_checkpoint
import numpy as np
import pytest
import torch

from old_films_rtn import published
from old_films_rtn.data.clips import find_clips
from old_films_rtn.data.procedural import make_scene
from old_films_rtn.export import published_state
from old_films_rtn.models.raft import RAFT
from old_films_rtn.models.rtn import RTN
from shared_utils import checkpoint

FOLDER = Path(evaluate.__file__).parent


@pytest.fixture
def network(scratch):
    """A small network of our form in ``rtn.safetensors``, and one of the published form in ``published.safetensors``."""
    torch.manual_seed(0)
    for name, tanh_residual in (("rtn", False), ("published", True)):
        rtn = RTN(8, 32, (1,), 2, tanh_residual)
        torch.nn.init.normal_(rtn.output.weight, 0, 0.02)
        checkpoint.save_safetensors(published.state_to_save(rtn), f"{name}.safetensors")
    return scratch


@pytest.fixture
def clean(scratch):
    """Two clips of frames in ``clean``."""
    for number in range(2):
        frames = make_scene(np.random.default_rng(number), "test", 4, 48, 64, 2.0).frames
        (scratch / "clean" / f"{number:03d}").mkdir(parents=True)
        for i, frame in enumerate(frames):
            cv2.imwrite(f"clean/{number:03d}/{i:08d}.png", frame)
    return scratch


def refused(main, arguments, said, capsys):
    assert main(arguments) == 2
    printed = capsys.readouterr().err.strip().splitlines()
    assert said in printed[-1] and "Traceback" not in "".join(printed), printed


# Degrade and evaluate ------------------------------------------------------------------------------------------------


def test_degrade_writes_the_same_film_for_the_same_seed(clean):
    options = ["--save-mask", "--save-flow", "--preset", "film"]
    assert degrade.main(["clean", "-o", "a", "--seed", "1", *options]) == 0
    assert degrade.main(["clean", "-o", "b", "--seed", "1"]) == 0
    assert degrade.main(["clean", "-o", "c", "--seed", "1", "--preset", "film"]) == 0
    for kind in ("lq", "gt", "mask"):
        assert {name: len(frames) for name, frames in find_clips(f"a/{kind}").items()} == {"000": 4, "001": 4}
    with np.load("a/flow/000.npz") as flow:
        assert flow["forward_flow"].shape == (3, 2, 48, 64)
    first, other, again = (cv2.imread(f"{folder}/lq/001/00000002.png") for folder in "abc")
    assert (first == again).all() and (first != other).any()


def test_degrade_refuses_what_would_lose_something(clean, capsys):
    Path("full").mkdir()
    Path("full/kept.txt").write_text("kept")
    refused(degrade.main, ["clean", "-o", "full"], "full is not empty", capsys)
    refused(degrade.main, ["clean", "-o", "clean/out"], "lies inside", capsys)
    refused(degrade.main, ["clean", "-o", "out", "--preset", "old"], "published, film", capsys)
    refused(degrade.main, ["clean", "-o", "out", "--textures", "none"], "none is no folder", capsys)
    refused(degrade.main, ["nowhere", "-o", "out"], "nowhere not found", capsys)
    assert not Path("out").exists() and Path("full/kept.txt").read_text() == "kept"


def test_folders_are_compared_in_both_variants(clean, capsys):
    assert degrade.main(["clean", "-o", "film", "--preset", "film"]) == 0
    scores = {}
    for protocol in ("script", "paper"):
        assert evaluate.main(["--pred", "film/lq", "--gt", "film/gt", "--csv", "m.csv", "--protocol", protocol]) == 0
        printed = capsys.readouterr().out
        assert f"variant: {protocol}" in printed
        with Path("m.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert [row["clip"] for row in rows] == ["000", "001"] and rows[0]["frames"] == "4"
        scores[protocol] = float(rows[0]["ssim"])
    assert scores["script"] != scores["paper"]
    assert evaluate.main(["--pred", "film/gt", "--gt", "film/gt", "--csv", "same.csv"]) == 0
    with Path("same.csv").open(newline="") as file:
        assert {(row["psnr"], float(row["ssim"])) for row in csv.DictReader(file)} == {("inf", 1.0)}


def test_folders_that_do_not_match_are_named(clean, capsys):
    assert degrade.main(["clean", "-o", "film"]) == 0
    Path("film/lq/000/00000003.png").unlink()
    refused(evaluate.main, ["--pred", "film/lq", "--gt", "film/gt"], "clip 000 has 3 frames", capsys)
    refused(evaluate.main, ["--pred", "film/lq"], "--pred and --gt go together", capsys)
    cv2.imwrite("film/lq/001/00000003.png", np.zeros((8, 8), np.uint8))
    refused(evaluate.main, ["--pred", "film/lq/001", "--gt", "film/gt/001"], "8x8", capsys)


def test_a_network_is_compared_with_the_baselines(network, capsys):
    options = ["--clips", "2", "--frames", "3", "--size", "32", "--csv", "m.csv", "--device", "cpu"]
    assert evaluate.main(["--ckpt", "rtn.safetensors", "--single", "rtn.safetensors", *options]) == 0
    printed = capsys.readouterr().out
    for name in ("input", "temporal median", "single frames", "recurrent", "residual", "mask, backward", "flow: dis"):
        assert name in printed
    with Path("m.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 2 * 4
    refused(evaluate.main, ["--ckpt", "rtn.safetensors", "--size", "40"], "multiple of 16", capsys)
    refused(evaluate.main, ["--ckpt", "missing.pth"], "missing.pth not found", capsys)
    refused(evaluate.main, ["--ckpt", "rtn.safetensors", "--flow", "checkpoint"], "raft-sintel.pth", capsys)


def test_the_claim_is_judged_and_drawn(network, capsys):
    for seed in (0, 1):
        for kind in ("recurrent", "single"):
            folder = network / "runs" / "claim" / f"{kind}_{seed}"
            folder.mkdir(parents=True)
            (folder / "model.safetensors").write_bytes(Path("rtn.safetensors").read_bytes())
    assert claim.main(["--out", "out", "--clips", "2", "--frames", "3", "--size", "32"]) == 0
    assert "the claim does not hold" in capsys.readouterr().out
    import json

    content = json.loads(Path("out/claim.json").read_text())
    assert (
        content["holds"] is False
        and content["seeds"] == [0, 1]
        and "not worse outside: 0 of 2 seeds" in content["verdict"]
    )
    assert {"gain inside (dB)", "mask AUROC"} <= set(content["tables"][0]["rows"][0])
    assert Path("out/claim.png").stat().st_size > 1000
    refused(claim.main, ["--runs", "nothing"], "train.py", capsys)


# Import and export ---------------------------------------------------------------------------------------------------


def test_a_released_file_is_imported_with_raft_beside_it(network, capsys):
    state = published_state(published.load("published.safetensors").rtn)
    torch.save({"netG": {f"module.{name}": tensor for name, tensor in state.items()}}, "net_G_200000.pth")
    torch.save(RAFT().state_dict(), "raft-sintel.pth")
    assert import_checkpoint.main(["net_G_200000.pth", "-o", "rtn_raft.safetensors", "--raft", "raft-sintel.pth"]) == 0
    assert "entries matched" in capsys.readouterr().out
    loaded = published.load("rtn_raft.safetensors")
    assert loaded.raft is not None
    assert torch.equal(loaded.rtn.fusion.weight, published.load("published.safetensors").rtn.fusion.weight)


def test_files_that_cannot_be_imported_are_refused(network, capsys):
    Path("page.pth").write_text("<html>not found</html>")
    torch.save({"params": {"mamba.A_logs": torch.zeros(1)}}, "mamba.pth")
    torch.save({"epoch": 3}, "optimizer_200000.pth")
    torch.save({"layer.weight": torch.zeros(1)}, "other.pth")
    for file, said in (
        ("page.pth", "web page"),
        ("absent.pth", "not found"),
        ("mamba.pth", "no state dict"),
        ("optimizer_200000.pth", "no state dict"),
        ("other.pth", "no generator of RTN"),
    ):
        refused(import_checkpoint.main, [file, "-o", "x.safetensors"], said, capsys)
    refused(import_checkpoint.main, ["other.pth", "-o", "x.pth"], "must end in .safetensors", capsys)
    assert not Path("x.safetensors").exists()


@pytest.mark.parametrize("ending", [".safetensors", ".pth", ".pt2"])
def test_what_is_exported_gives_the_same_numbers(network, ending):
    assert (
        export.main(["--ckpt", "published.safetensors", "-o", f"out{ending}", "--height", "32", "--width", "48"]) == 0
    )
    assert Path(f"out{ending}").stat().st_size > 0


def test_onnx_gives_the_same_numbers(network):
    pytest.importorskip("onnxscript", reason="onnxscript is not installed (extra onnx)")
    assert export.main(["--ckpt", "rtn.safetensors", "-o", "out.onnx", "--height", "32", "--width", "32"]) == 0


def test_what_cannot_be_exported_is_said(network, capsys):
    refused(export.main, ["--ckpt", "rtn.safetensors", "-o", "out.pth"], "tanh", capsys)
    refused(export.main, ["--ckpt", "rtn.safetensors", "-o", "out.bin"], ".onnx", capsys)
    refused(export.main, ["--ckpt", "rtn.safetensors", "-o", "out.pt2", "--height", "40"], "multiples of 16", capsys)


@pytest.mark.parametrize("verb", ["degrade", "evaluate", "export", "import_checkpoint", "claim", "train"])
def test_help_answers_without_torch(verb):
    code = f"import sys, {verb}; sys.argv = ['{verb}.py', '--help']; {verb}.main(); assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], cwd=FOLDER, capture_output=True, text=True)
    assert done.returncode == 0 and "--" in done.stdout, done.stderr
