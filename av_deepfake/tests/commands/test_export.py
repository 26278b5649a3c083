"""``export``: every form, the branches of another run, and what is refused."""

import subprocess
import sys
from pathlib import Path

import pytest
from small_model import small_model

from av_deepfake.commands.export import main
from av_deepfake.pretrained import load


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    small_model(agreement=False).save_pretrained(folder / "tuned")
    small_model(detector=False).save_pretrained(folder / "paired")
    return folder


def test_a_detector_and_its_branches_become_one_model(models, scratch, capsys):
    arguments = ["--ckpt", str(models / "tuned"), "--agreement", str(models / "paired")]
    assert main([*arguments, "--out", "both"]) == 0
    assert "middle 24x24 of grey mouth crops of 26x26 (subpixel), 25 frames" in capsys.readouterr().out
    both = load("both")
    assert both.detector is not None and both.audio is not None
    assert main([*arguments, "--out", "both"]) == 2 and "--overwrite" in capsys.readouterr().err
    assert main([*arguments, "--out", "both", "--overwrite"]) == 0


def test_without_out_a_new_folder_is_made(models, scratch):
    assert main(["--ckpt", str(models / "tuned"), "--to", "published"]) == 0
    assert [path.name for path in (scratch / "runs" / "export").glob("version_*/*")] == ["model.pth"]


def test_a_model_without_a_detector_is_refused_where_one_is_needed(models, scratch, capsys):
    assert main(["--ckpt", str(models / "paired"), "--to", "onnx", "--out", "model.onnx"]) == 2
    assert "this model has none yet" in capsys.readouterr().err
    assert main(["--ckpt", str(models / "paired"), "--agreement", str(models / "tuned"), "--out", "both"]) == 2
    assert not list(scratch.iterdir())


def test_the_shell_answers_help():
    script = Path(__file__).parents[2] / "export.py"
    done = subprocess.run([sys.executable, script, "--help"], capture_output=True, text=True)
    assert done.returncode == 0 and "--agreement" in done.stdout
