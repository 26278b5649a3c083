"""The commands build_reference, import_checkpoint and export, as they are typed."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ict_deepfake.commands import build_reference, export, import_checkpoint
from ict_deepfake.faces.alignment import Alignment
from ict_deepfake.models.ict import ICT
from ict_deepfake.pretrained import Detector, load
from ict_deepfake.published import export_ict
from ict_deepfake.references import load_references

PROJECT = Path(__file__).parents[2]
SMALL = {"img_size": 16, "patch_size": 8, "embed_dim": 32, "depth": 1, "num_heads": 1}
POINTS = [[30, 40], [70, 40], [50, 60], [36, 80], [64, 80]]


@pytest.fixture
def model(scratch):
    torch.manual_seed(0)
    detector = Detector(ICT(**SMALL), Alignment().scaled(40))
    detector.save_pretrained(scratch / "model")
    return detector


@pytest.fixture
def people(scratch):
    """Two persons with two pictures each, and the landmarks of all."""
    entries = {}
    for number, name in enumerate(["ann/0.png", "ann/1.png", "bob/0.png", "bob/1.png"]):
        draw = np.random.default_rng(number)
        path = scratch / "people" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw.integers(0, 256, (100, 100, 3), dtype=np.uint8)).save(path)
        entries[name] = POINTS
    (scratch / "points.json").write_text(json.dumps(entries))
    return scratch / "people"


def run(command, *arguments):
    return command.main([str(argument) for argument in arguments])


def test_a_reference_set_is_built_extended_and_reduced(model, people, scratch, capsys):
    common = ("--ckpt", "model", "--landmarks", "points.json")
    assert run(build_reference, people, "--out", "ref.safetensors", *common) == 0
    said = capsys.readouterr().out
    assert "2 persons, 4 pictures (2 to 2 each)" in said and "leave-one-out accuracy" in said
    assert "most confusable: ann and bob" in said
    first = load_references(scratch / "ref.safetensors")
    assert first.persons == ["ann", "bob"] and first.model == model.digest
    entries = json.loads((scratch / "points.json").read_text())
    (people / "cy").mkdir()
    Image.fromarray(np.full((100, 100, 3), 90, np.uint8)).save(people / "cy" / "0.png")
    (scratch / "points.json").write_text(json.dumps({**entries, "cy/0.png": POINTS}))
    assert run(build_reference, people, "--add", "ref.safetensors", "--out", "more.npz", *common) == 0
    assert "4 pictures were in ref.safetensors already" in capsys.readouterr().out
    more = load_references(scratch / "more.npz")
    assert more.persons == ["ann", "bob", "cy"] and torch.equal(more.inner[:4], first.inner)
    assert run(build_reference, "more.npz", "--remove", "ann", "--out", "less.safetensors") == 0
    assert load_references(scratch / "less.safetensors").persons == ["bob", "cy"]


def test_one_bad_picture_is_named_and_the_others_are_there(model, people, scratch, capsys):
    (people / "bob" / "cut.jpg").write_bytes(b"\xff\xd8\xff")
    status = run(build_reference, people, "--out", "ref.safetensors", "--ckpt", "model", "--landmarks", "points.json")
    assert status == 2 and len(load_references(scratch / "ref.safetensors")) == 4
    assert "1 of 5 pictures gave no reference" in (said := capsys.readouterr().err) and "cut.jpg" in said


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("people", "--out", "ref.pkl"), "ends with .safetensors or .npz"),
        (("people", "--out", "old.npz"), "old.npz exists"),
        (("nowhere", "--out", "ref.npz"), "nowhere is not a folder"),
        (("people", "--out", "ref.npz", "--remove", "ann"), "--remove takes ann out of a reference set"),
        (("people", "--out", "ref.npz", "--ckpt", "nowhere.pth"), "nowhere.pth not found"),
        (("people", "--out", "ref.npz", "--ckpt", "model", "--test", "nowhere"), "nowhere not found"),
        (("people", "--out", "ref.npz", "--ckpt", "model", "--test", "people"), "4 reference pictures are in the test"),
        (("people", "--out", "ref.npz", "--ckpt", "model", "--add", "none.npz"), "none.npz not found"),
        (("people", "--out", "ref.npz", "--ckpt", "model", "--add", "old.npz"), "built with another model (dlib"),
        (("old.npz", "--out", "ref.npz", "--remove", "zoe"), "zoe is not in the reference set"),
        (("old.npz", "--out", "ref.npz", "--test", "people"), "--add and --test go with a folder"),
    ],
)
def test_mistakes_end_in_one_line_before_the_work(model, people, scratch, capsys, arguments, words):
    facts = {"names": ["ann"], "sources": ["x"], "hashes": [""], "model": "dlib"}
    np.savez("old.npz", inner=np.ones((1, 8)), outer=np.ones((1, 8)), **facts)
    assert run(build_reference, *arguments, "--landmarks", "points.json") == 2
    said = capsys.readouterr().err
    assert words in said and said.count("\n") == 1 and not (scratch / "ref.npz").exists()


def test_published_files_are_imported_and_shown_to_be_trained(model, scratch, capsys):
    torch.save(export_ict(model.model), "ICT_Base.pth")
    assert run(import_checkpoint, "ICT_Base.pth", "--out", "imported") == 0
    said = capsys.readouterr().out
    assert "a fixed picture gives inner [" in said and "1 heads are assumed" in said
    assert torch.equal(load("imported").model.state_dict()["bn.bias"], model.model.state_dict()["bn.bias"])
    torch.save({"inner": torch.eye(3), "outer": torch.eye(3)}, "ref.pkl")
    assert run(import_checkpoint, "ref.pkl", "--out", "ref.safetensors") == 0
    assert load_references("ref.safetensors").names[2] == "reference 2"
    assert run(import_checkpoint, "ICT_Base.pth", "--out", "imported") == 2
    assert "imported exists" in capsys.readouterr().err
    torch.save({"a": torch.zeros(1)}, "other.pth")
    assert run(import_checkpoint, "other.pth", "--out", "new") == 2
    assert "Closest is" in capsys.readouterr().err and not Path("new").exists()
    assert run(import_checkpoint, "missing.pth", "--out", "new") == 2
    assert "missing.pth not found" in capsys.readouterr().err


def test_export_says_what_the_input_is(model, scratch, capsys):
    assert run(export, "--ckpt", "model", "--to", "published", "--out", "ict.pth") == 0
    assert "16x16 (bilinear, antialiased)" in capsys.readouterr().out
    assert torch.load("ict.pth", weights_only=True)["epoch"] == 0
    assert run(export, "--ckpt", "nowhere", "--out", "x") == 2 and "not found" in capsys.readouterr().err
    assert run(export, "--ckpt", "model", "--to", "published", "--out", "ict.pth") == 2
    assert "ict.pth exists" in capsys.readouterr().err
    assert run(export, "--ckpt", "model") == 0 and load(next(Path("runs/export").iterdir()) / "model").size == 16


HELP = """
import runpy, sys
sys.argv = [sys.argv[1], "--help"]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
finally:
    assert "torch" not in sys.modules
"""


@pytest.mark.parametrize("verb", ["build_reference", "import_checkpoint", "export"])
def test_the_scripts_answer_without_torch(verb, tmp_path):
    command = [sys.executable, "-c", HELP, str(PROJECT / f"{verb}.py")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "--out" in done.stdout, done.stderr
