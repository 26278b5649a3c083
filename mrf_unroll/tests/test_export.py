"""import_checkpoint and export as they are typed."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import PROTOCOL, error_of, run, train

from mrf_unroll.pretrained import load
from shared_utils import checkpoint

REAL = Path(__file__).parents[3] / "shared" / "data" / "mrf_unroll"


def test_an_exported_folder_is_the_network_with_its_baselines(trained, undrawn, tmp_path):
    assert run("export", "--ckpt", trained, "--out", tmp_path / "net") == 0
    one, other = load(trained).state_dict(), load(tmp_path / "net").state_dict()
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert (
        run("evaluate", "--ckpt", tmp_path / "net", "--methods", "unet,unrolled", "--out", tmp_path / "e", "--limit", 1)
        == 0
    )


def test_an_exported_program_is_checked_and_the_published_form_asks_for_its_network(trained, tmp_path, capsys):
    assert run("export", "--ckpt", trained, "--out", tmp_path / "net.pt2", "--to", "pt2") == 0
    assert (tmp_path / "net.pt2").stat().st_size > 1000
    assert run("export", "--ckpt", trained, "--out", tmp_path / "net.pt", "--to", "published") == 2
    assert "step_rule relu_plus_one" in error_of(capsys) and not (tmp_path / "net.pt").exists()


@pytest.mark.skipif(not REAL.is_dir(), reason="the released weights are not beside this checkout")
def test_released_weights_are_imported_and_begin_a_training(undrawn, tmp_path, capsys, scan):
    released = REAL / "pgdnet_released"
    bloch = released / "miccai_bloch_gen_200210-180246.pt"
    assert (
        run(
            "import_checkpoint",
            released / "PGD_NET_Spiral_T_1.pt",
            "--bloch",
            bloch,
            "--out",
            tmp_path / "net",
        )
        == 0
    )
    said = capsys.readouterr().out
    assert "18 tensors matched; 80 left out" in said and "not released" in said
    assert run("reconstruct", "--scan", scan, "--out", tmp_path / "out", "--ckpt", tmp_path / "net") == 2
    assert "has no basis and no schedule" in error_of(capsys)
    protocol = json.dumps({**PROTOCOL, "rank": 10})
    network = ("--model.encoder", "{name: resnet, hidden: 32, blocks: 2, head_hidden: 32}", "--data.protocol", protocol)
    assert train(tmp_path, *network, "--model.initial_weights", tmp_path / "net", "--trainer.max_epochs", 1) == 0


@pytest.mark.skipif(not REAL.is_dir(), reason="the published file is not beside this checkout")
def test_the_published_subspace_is_imported_and_its_networks_are_explained(tmp_path, capsys):
    assert run("import_checkpoint", REAL / "MRFResnet_AE.mat", "--out", tmp_path) == 0
    assert "MATLAB objects" in capsys.readouterr().out
    assert np.load(tmp_path / "subspace.npz")["basis"].shape == (880, 10)


def test_a_run_without_checkpoints_and_a_foreign_one_are_named(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert run("evaluate", "--ckpt", tmp_path / "empty", "--out", tmp_path / "o") == 2
    assert "no good checkpoint in" in error_of(capsys)
    checkpoint.save({"state_dict": {}}, tmp_path / "foreign.ckpt")
    assert run("export", "--ckpt", tmp_path / "foreign.ckpt", "--out", tmp_path / "o") == 2
    assert "not a checkpoint of ours" in error_of(capsys)
