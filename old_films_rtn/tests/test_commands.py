"""The commands of this half, in process, with what users get wrong."""

import csv
import subprocess
import sys
from pathlib import Path

import cv2
import films
import numpy as np
import pytest
import torch

from old_films_rtn import pretrained
from old_films_rtn.commands import claim, degrade, evaluate, export, import_checkpoint, train
from old_films_rtn.data.clips import find_clips
from old_films_rtn.data.procedural import make_scene
from old_films_rtn.models.raft import RAFT
from old_films_rtn.models.rtn import RTN
from old_films_rtn.published import published_state
from shared_utils import checkpoint

FOLDER = Path(__file__).parents[1]
VERBS = sorted(path.stem for path in FOLDER.glob("*.py"))


@pytest.fixture
def network(scratch):
    """A small network of our form in ``rtn.safetensors``, and one of the published form in ``published.safetensors``."""
    torch.manual_seed(0)
    for name, tanh_residual in (("rtn", False), ("published", True)):
        rtn = RTN(8, 32, (1,), 2, tanh_residual)
        torch.nn.init.normal_(rtn.output.weight, 0, 0.02)
        checkpoint.save_safetensors(pretrained.Restorer(rtn).state_dict(), f"{name}.safetensors")
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
    assert degrade.main(["clean", "--out", "a", "--seed", "1", *options]) == 0
    assert degrade.main(["clean", "--out", "b", "--seed", "1"]) == 0
    assert degrade.main(["clean", "--out", "c", "--seed", "1", "--preset", "film"]) == 0
    for kind in ("lq", "gt", "mask"):
        assert {name: len(frames) for name, frames in find_clips(f"a/{kind}").items()} == {"000": 4, "001": 4}
    with np.load("a/flow/000.npz") as flow:
        assert flow["forward_flow"].shape == (3, 2, 48, 64)
    first, other, again = (cv2.imread(f"{folder}/lq/001/00000002.png") for folder in "abc")
    assert (first == again).all() and (first != other).any()


def test_degrade_refuses_what_would_lose_something(clean, capsys):
    Path("full").mkdir()
    Path("full/kept.txt").write_text("kept")
    refused(degrade.main, ["clean", "--out", "full"], "full exists and is not empty", capsys)
    refused(degrade.main, ["clean", "--out", "clean/out"], "lies inside", capsys)
    refused(degrade.main, ["clean", "--out", "out", "--preset", "old"], "published, film", capsys)
    refused(degrade.main, ["clean", "--out", "out", "--textures", "none"], "none is not a folder", capsys)
    refused(degrade.main, ["nowhere", "--out", "out"], "nowhere not found", capsys)
    assert not Path("out").exists() and Path("full/kept.txt").read_text() == "kept"


def test_folders_are_compared_in_both_variants(clean, capsys):
    assert degrade.main(["clean", "--out", "film", "--preset", "film"]) == 0
    scores = {}
    for protocol in ("script", "paper"):
        assert evaluate.main(["--pred", "film/lq", "--gt", "film/gt", "--out", protocol, "--protocol", protocol]) == 0
        printed = capsys.readouterr().out
        assert f"variant: {protocol}" in printed
        with Path(protocol, "scores.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert [row["clip"] for row in rows] == ["000", "001"] and rows[0]["frames"] == "4"
        scores[protocol] = float(rows[0]["ssim"])
    assert scores["script"] != scores["paper"]
    assert evaluate.main(["--pred", "film/gt", "--gt", "film/gt", "--out", "same"]) == 0
    with Path("same/scores.csv").open(newline="") as file:
        assert {(row["psnr"], float(row["ssim"])) for row in csv.DictReader(file)} == {("inf", 1.0)}


def test_folders_that_do_not_match_are_named(clean, capsys):
    assert degrade.main(["clean", "--out", "film"]) == 0
    Path("film/lq/000/00000003.png").unlink()
    refused(evaluate.main, ["--pred", "film/lq", "--gt", "film/gt"], "clip 000 has 3 frames", capsys)
    refused(evaluate.main, ["--pred", "film/lq"], "--pred and --gt go together", capsys)
    cv2.imwrite("film/lq/001/00000003.png", np.zeros((8, 8), np.uint8))
    refused(evaluate.main, ["--pred", "film/lq/001", "--gt", "film/gt/001"], "8x8", capsys)


def test_a_network_is_compared_with_the_baselines(network, capsys):
    options = ["--clips", "2", "--frames", "3", "--size", "32", "--out", "scores", "--device", "cpu"]
    assert evaluate.main(["--ckpt", "rtn.safetensors", "--single", "rtn.safetensors", *options]) == 0
    printed = capsys.readouterr().out
    for name in ("input", "temporal median", "single frames", "recurrent", "residual", "mask, backward", "flow: dis"):
        assert name in printed
    with Path("scores/scores.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 2 * 4
    assert Path("scores/comparison.png").stat().st_size > 1000 and Path("scores/summary.md").is_file()
    refused(evaluate.main, ["--ckpt", "rtn.safetensors", *options], "scores exists: continue it with --resume", capsys)
    other = ["--ckpt", "published.safetensors", *options, "--resume"]
    refused(evaluate.main, other, "weights", capsys)
    refused(evaluate.main, ["--ckpt", "rtn.safetensors", "--size", "40"], "multiple of 16", capsys)
    refused(evaluate.main, ["--ckpt", "missing.pth"], "missing.pth not found", capsys)
    refused(evaluate.main, ["--ckpt", "rtn.safetensors", "--flow", "checkpoint"], "raft-sintel.pth", capsys)


def test_the_claim_is_judged_and_drawn(network, capsys):
    for seed in (0, 1):
        for kind in ("recurrent", "single"):
            pretrained.load("rtn.safetensors").save_pretrained(network / "runs" / "claim" / f"{kind}_{seed}")
    sizes = ["--clips", "2", "--frames", "3", "--size", "32"]
    assert claim.main(sizes) == 0  # into the folder of the runs
    assert "The claim does not hold" in capsys.readouterr().out
    import json

    content = json.loads(Path("runs/claim/claim.json").read_text())
    assert (
        content["holds"] is False
        and content["seeds"] == [0, 1]
        and "not worse outside: 0 of 2 seeds" in content["verdict"]
    )
    assert {"gain inside (dB)", "mask AUROC"} <= set(content["tables"][0]["rows"][0])
    assert Path("runs/claim/claim.png").stat().st_size > 1000
    refused(claim.main, sizes, "claim.json exists", capsys)
    assert claim.main([*sizes, "--resume"]) == 0
    assert json.loads(Path("runs/claim/claim.json").read_text()) == content
    refused(claim.main, ["--runs", "nothing"], "train.py", capsys)


# Import and export ---------------------------------------------------------------------------------------------------


def test_a_released_file_is_imported_with_raft_beside_it(network, capsys):
    state = published_state(pretrained.load("published.safetensors").rtn)
    torch.save({"netG": {f"module.{name}": tensor for name, tensor in state.items()}}, "net_G_200000.pth")
    torch.save(RAFT().state_dict(), "raft-sintel.pth")
    assert import_checkpoint.main(["net_G_200000.pth", "--out", "rtn_raft", "--raft", "raft-sintel.pth"]) == 0
    assert "entries matched" in capsys.readouterr().out
    loaded = pretrained.load("rtn_raft")
    assert loaded.raft is not None
    assert torch.equal(loaded.rtn.fusion.weight, pretrained.load("published.safetensors").rtn.fusion.weight)


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
        ("other.pth", "not a generator of RTN"),
    ):
        refused(import_checkpoint.main, [file, "--out", "x"], said, capsys)
    assert not Path("x").exists()
    Path("x").mkdir()
    Path("x/mine.txt").touch()
    refused(import_checkpoint.main, ["other.pth", "--out", "x"], "x exists: replace it with --overwrite", capsys)


@pytest.mark.parametrize(("kind", "made"), [("pretrained", "rtn"), ("published", "rtn.pth"), ("pt2", "rtn.pt2")])
def test_what_is_exported_gives_the_same_numbers(network, kind, made, capsys):
    options = ["--ckpt", "published.safetensors", "--to", kind, "--height", "32", "--width", "48"]
    if kind == "pt2":
        Path(made).write_text("an earlier export")
    else:
        assert export.main(options) == 0 and Path(made).exists()
    refused(export.main, options, f"{made} exists", capsys)
    assert export.main([*options, "--overwrite"]) == 0
    assert kind != "pt2" or Path(made).stat().st_size > 1000


def test_onnx_gives_the_same_numbers(scratch):
    pytest.importorskip("onnxscript", reason="onnxscript is not installed (extra onnx)")
    films.write_model("rtn.safetensors", channels=4, width=8, depths=(1,), num_heads=1)
    assert export.main(["--ckpt", "rtn.safetensors", "--to", "onnx", "--height", "16", "--width", "32"]) == 0
    assert Path("rtn.onnx").stat().st_size > 1000


def test_what_cannot_be_exported_is_said(network, capsys):
    refused(export.main, ["--ckpt", "rtn.safetensors", "--to", "published"], "tanh", capsys)
    refused(export.main, ["--ckpt", "rtn.safetensors", "--to", "pth"], "onnx", capsys)
    refused(export.main, ["--ckpt", "rtn.safetensors", "--to", "pt2", "--height", "40"], "multiples of 16", capsys)


# The shell -----------------------------------------------------------------------------------------------------------


def test_help_and_a_wrong_argument_answer_without_torch(scratch):
    code = (
        "import contextlib, importlib, io, sys\n"
        "for verb in sys.argv[1:]:\n"
        "    with contextlib.redirect_stdout(io.StringIO()) as printed:\n"
        "        assert importlib.import_module(f'old_films_rtn.commands.{verb}').main(['--help']) == 0\n"
        "    assert '--' in printed.getvalue(), verb\n"
        "assert not {'torch', 'pytorch_lightning', 'cv2'} & set(sys.modules)\n"
        "from old_films_rtn.commands import restore\n"
        "assert restore.main(['nowhere.mp4']) == restore.main(['here', '--out', 'here/out']) == 2\n"
        "assert 'torch' not in sys.modules"
    )
    films.write_folder(scratch / "here", films.moving(1))
    done = subprocess.run([sys.executable, "-c", code, *VERBS], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_verb_is_a_script_and_a_command_of_the_package():
    listed = subprocess.run([sys.executable, "-m", "old_films_rtn"], capture_output=True, text=True).stdout
    assert sorted(line.split()[0] for line in listed.splitlines()[2:]) == VERBS
    for verb in VERBS:
        assert f"from old_films_rtn.commands.{verb} import main" in (FOLDER / f"{verb}.py").read_text()


def test_the_package_runs_outside_the_folder_of_the_project(clean, capsys, processes):
    """The verb by `python -m`, the config by the words that are typed in the project's folder."""
    assert not Path("configs").exists()
    code = "import runpy; runpy.run_module('old_films_rtn', run_name='__main__', alter_sys=True)"
    done = processes.start(code, "restore", "clean/000", "--out", "restored", "--device", "cpu")
    done.join()
    assert done.exitcode == 0 and len(list(Path("restored").iterdir())) == 4, processes.printed(done)
    capsys.readouterr()
    assert train.main(["--config", "configs/default.yaml", "--print_config"]) == 0
    assert "samples_per_epoch: 100" in capsys.readouterr().out
    refused(train.main, ["--config", "configs/colours.yaml"], "did you mean configs/colour.yaml?", capsys)


def test_a_script_of_the_project_runs(clean):
    Path("there.mp4").write_bytes(b"precious")
    script = [sys.executable, str(FOLDER / "restore.py"), "clean/000", "--out", "there.mp4"]
    done = subprocess.run(script, capture_output=True, text=True)
    assert done.returncode == 2 and "there.mp4 exists" in done.stderr
