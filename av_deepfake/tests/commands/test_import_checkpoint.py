"""The verb import_checkpoint: what is written is loaded, and what cannot be used is refused before anything is written."""

import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from av_deepfake import pretrained
from av_deepfake.commands.import_checkpoint import main
from av_deepfake.models.branches import VideoBranch
from av_deepfake.models.mstcn import MouthTCN
from av_deepfake.models.syncnet import SyncNet
from av_deepfake.pretrained import load
from av_deepfake.published import export_published
from shared_utils.checkpoint import load_tensors

SMALL = {"width": 6, "kernels": (3, 5), "layers": 2, "channels": 8, "widths": (8, 12), "blocks": (1, 2)}


@pytest.fixture(autouse=True)
def small_encoders(monkeypatch):
    """The fresh encoder is of no interest here, and at its usual size it takes most of the time."""
    monkeypatch.setattr(pretrained, "VideoBranch", partial(VideoBranch, dim=16, depth=1, heads=2, mlp=16))


@pytest.fixture
def lipforensics(tmp_path):
    torch.manual_seed(0)
    network = MouthTCN(**SMALL).eval()
    torch.save(export_published(network), tmp_path / "lipforensics_ff.pth")
    return network


def test_lipforensics_becomes_a_detector(lipforensics, tmp_path, capsys):
    assert main([str(tmp_path / "lipforensics_ff.pth"), "--out", str(tmp_path / "lipf")]) == 0
    said = capsys.readouterr().out
    assert "1 class: positive means fake" in said and "entries used" in said and f"wrote {tmp_path / 'lipf'}" in said
    model = load(tmp_path / "lipf")
    assert model.preprocessing["variant"] == "2020" and model.preprocessing["size"] == 88
    clips = np.random.default_rng(0).integers(0, 256, (2, 25, 96, 96), dtype=np.uint8)
    pictures = (torch.from_numpy(clips[:, None, :, 4:92, 4:92]).float() / 255 - 0.421) / 0.165
    with torch.no_grad():
        expected = lipforensics(pictures)[:, 0]
    torch.testing.assert_close(torch.from_numpy(model.score(clips)), expected, rtol=1e-4, atol=1e-5)
    assert main([str(tmp_path / "lipforensics_ff.pth"), "--out", str(tmp_path / "lipf")]) == 2
    assert "--overwrite" in capsys.readouterr().err


def test_a_word_reader_is_something_to_begin_with_and_says_what_is_left_out(tmp_path, capsys):
    torch.save(
        {"model_state_dict": export_published(MouthTCN(500, **SMALL))["model"], "epoch": 80}, tmp_path / "lrw.pth.tar"
    )
    assert main([str(tmp_path / "lrw.pth.tar"), "--out", str(tmp_path / "lrw")]) == 0
    said = capsys.readouterr().out
    assert "500 classes" in said and "left out" in said and "fresh" in said
    model = load(tmp_path / "lrw")
    assert model.detector is None and model.fresh and model.video is not None
    # The fresh encoder is drawn again and not stored.
    assert not any("encoder" in name for name in load_tensors(tmp_path / "lrw" / "model.safetensors"))
    assert model.digest == load(tmp_path / "lrw.pth.tar").digest


def test_what_scores_no_mouths_is_refused_in_a_line(tmp_path, capsys):
    small = SyncNet().state_dict()
    torch.save(small, tmp_path / "syncnet_v2.model")
    (tmp_path / "page.pth").write_text("<html>")
    cases = {"syncnet_v2.model": "holds SyncNet", "page.pth": "page.pth", "nowhere.pth": "nowhere.pth not found"}
    for name, words in cases.items():
        assert main([str(tmp_path / name), "--out", str(tmp_path / "out")]) == 2
        said = capsys.readouterr().err
        assert words in said and said.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_the_script_answers_without_torch(tmp_path):
    script = Path(__file__).parents[2] / "import_checkpoint.py"
    found = subprocess.run([sys.executable, script, "--help"], capture_output=True, text=True, cwd=tmp_path)
    assert found.returncode == 0 and "--overwrite" in found.stdout
