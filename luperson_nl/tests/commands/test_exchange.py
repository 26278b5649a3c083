"""import_checkpoint and export from the command line."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from luperson_nl.commands import export, import_checkpoint
from luperson_nl.models.reid import build_reid
from luperson_nl.models.trunks import build_trunk
from luperson_nl.pretrained import Embedder, load
from luperson_nl.published import export_published

PROJECT = Path(__file__).parents[2]


def test_a_published_file_goes_in_and_comes_out_equal(scratch, capsys):
    written = export_published(build_reid("bot", "resnet_mini", 4), "fork", ((0.3, 0.3, 0.3), (0.2, 0.2, 0.2)))
    torch.save(written, "bot.pth")
    assert import_checkpoint.main(["bot.pth", "--out", "model", "--size", "[32, 16]"]) == 0
    shown = capsys.readouterr().out
    assert "bot on resnet_mini" in shown and "images: 32x16" in shown and "wrote model" in shown
    assert export.main(["--ckpt", "model", "--to", "fork", "--out", "again.pth"]) == 0
    again = torch.load("again.pth", weights_only=True)["model"]
    assert all(torch.equal(again[name], value) for name, value in written["model"].items())
    assert "0..255" in capsys.readouterr().out


def test_outputs_that_exist_and_wrong_files_end_in_one_line(scratch, capsys):
    Embedder("trunk", "resnet_mini", size=(32, 16)).save_pretrained("model")
    assert export.main(["--ckpt", "model", "--to", "torchvision", "--out", "model"]) == 2
    assert "--overwrite" in capsys.readouterr().err
    Path("notes.pth").write_text("these are not weights at all")
    for argv, words in (
        (["notes.pth", "--out", "new"], "notes.pth is plain text"),
        (["absent.pth", "--out", "new"], "absent.pth not found"),
    ):
        assert import_checkpoint.main(argv) == 2
        error = capsys.readouterr().err
        assert words in error and len(error.strip().splitlines()) == 1
    assert not Path("new").exists()


def test_the_root_scripts_answer(scratch):
    torch.save(build_trunk("resnet_mini").state_dict(), "trunk.pth")
    script = [sys.executable, str(PROJECT / "import_checkpoint.py"), "trunk.pth", "--out", "model"]
    done = subprocess.run(script, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "a ResNet under torchvision's names" in done.stdout and load("model").trunk == "resnet_mini"


@pytest.mark.parametrize("main", [export.main, import_checkpoint.main])
def test_help_names_the_arguments(main, capsys):
    assert main(["--help"]) == 0 and "--out" in capsys.readouterr().out
