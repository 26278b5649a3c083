"""``train``, ``train_punet`` and ``train_autoencoder``: what they make is attacked, or attacked with."""

from pathlib import Path

import pytest
import torch

from si_adv import load_victim
from si_adv.commands import attack, evaluate, train, train_autoencoder, train_punet
from si_adv.models.autoencoder import load_autoencoder

pytestmark = pytest.mark.usefixtures("scratch")


def test_training_then_attacking_what_was_trained(capsys):
    small = ["--data.procedural_sizes", "[40,20,20]", "--trainer.max_epochs", "1", "--trainer.accelerator", "cpu"]
    assert train.main(["--config", *small, "--trainer.enable_progress_bar", "false"]) == 0
    assert "python attack.py --compare --ckpt runs/default/version_0" in capsys.readouterr().out
    assert Path("runs/default/version_0/figures/training.png").is_file()
    assert evaluate.main(["--ckpt", "runs/default", "--limit", "10"]) == 0
    assert load_victim(next(Path("runs/default/version_0/checkpoints").glob("best*"))).class_names[0] == "bathtub"


def test_an_upsampler_is_trained_and_attacked_through(capsys):
    small = ["--data.procedural_sizes", "[8,2,2]", "--data.num_points", "256", "--trainer.max_epochs", "1"]
    quiet = ["--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false"]
    assert train_punet.main(["--config", *small, *quiet]) == 0
    weights = "runs/punet/version_0/punet.pth"
    assert f"--defence dupnet --punet {weights}" in capsys.readouterr().out
    attacked = ["--limit", "1", "--steps", "2", "--out", "d"]
    assert attack.main(["--defence", "dupnet", "--punet", weights, *attacked]) == 0
    assert attack.main(["--defence", "dupnet", *attacked[:-1], "e"]) == 2
    assert "pu-in_1024-up_4.pth" in capsys.readouterr().err


def test_an_autoencoder_is_trained_and_attacked_with(capsys):
    small = ["--data.procedural_sizes", "[8,2,2]", "--data.batch_size", "4", "--data.num_points", "64"]
    quiet = ["--trainer.max_epochs", "1", "--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false"]
    assert train_autoencoder.main(["--config", *small, *quiet]) == 0
    option = "{advpc: {autoencoder: runs/autoencoder/version_0/autoencoder}}"
    assert f"--attack advpc --options '{option}'" in capsys.readouterr().out
    assert load_autoencoder("runs/autoencoder/version_0/autoencoder")(torch.rand(2, 30, 3)).shape == (2, 64, 3)
    nowhere = "{advpc: {autoencoder: runs/none/at_all}}"
    assert attack.main(["--attack", "advpc", "--options", nowhere, "--limit", "1", "--out", "e"]) == 2
    assert "runs/none/at_all not found" in capsys.readouterr().err
