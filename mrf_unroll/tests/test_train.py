"""train as it is typed: what a run leaves, resumption, and what it answers to mistakes."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from commands import PROTOCOL, error_of, run, train

import mrf_unroll
from mrf_unroll.commands import train as train_command
from mrf_unroll.data.phantoms import head_phantom
from mrf_unroll.pretrained import load


def test_training_leaves_a_run_that_can_be_used_by_itself(trained):
    for name in ("training.png", "steps.png", "fingerprints.png", "maps.png", "iterations.png", "agreement.png"):
        assert (trained / "figures" / name).stat().st_size > 1000
    network = load(trained)
    assert network.sequence.hash == network.sequence.of(network.sequence.fa_deg).hash
    assert network.basis.shape == (30, 3) and float(network.network.decoder.scale) > 0
    assert network.options["trajectory_sha256"] and network.options["operator_norm"] > 0
    assert network.options["data"]["protocol"]["samples"] == 20


def test_the_learnt_steps_are_logged_every_epoch(trained):
    with (trained / "metrics.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["alpha_1"]]
    assert len(rows) == 6 and all(float(row["step_0"]) > 0 for row in rows)
    assert rows[0]["alpha_0"] != rows[1]["alpha_0"]


def test_every_method_stands_in_the_table(trained):
    with (trained / "methods.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["method"] for row in rows] == [
        "true time series + DM (floor)",
        "zero-filled + DM",
        "low-rank CG + DM",
        "locally low rank + DM",
        "LRTV + DM",
        "PnP-ADMM + DM",
        "low-rank CG + MRF-ResNet",
        "U-Net, end to end",
        "unrolled",
    ]
    assert all(0 <= float(row["T1 NRMSE"]) < 5 and float(row["|Ax-y|/|y|"]) >= 0 for row in rows)
    assert rows[-1]["training steps"] == "12" and int(rows[-2]["parameters"]) > 0


def _curve(folder):
    with (folder / "metrics.csv").open(newline="") as file:
        return [row["train_total"] for row in csv.DictReader(file) if row["train_total"]]


def test_training_is_the_same_twice_and_after_an_interruption(tmp_path, monkeypatch):
    monkeypatch.setattr(train_command, "after", lambda *_: None)  # weights are compared, not tables and figures
    whole = ("--model.one_cycle", "false")
    assert train(tmp_path / "a", *whole) == 0
    assert train(tmp_path / "b", *whole, "--trainer.max_epochs", 1) == 0
    assert train(tmp_path / "b", *whole, "--resume") == 0
    one, other = (
        load(tmp_path / name / "small" / "version_0" / "checkpoints" / "last.ckpt").state_dict() for name in ("a", "b")
    )
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert _curve(tmp_path / "a" / "small" / "version_0") == _curve(tmp_path / "b" / "small" / "version_0")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"samples": 24}, "another trajectory"),
        ({"schedule": "jiang:31"}, "basis is (30, 3) there and (31, 3) here"),
        ({"t2_ms": [10, 400]}, "another basis V"),
    ],
)
def test_a_checkpoint_is_not_resumed_on_another_acquisition(trained, tmp_path, capsys, changes, said):
    target = tmp_path / "small" / "version_0" / "checkpoints" / "last.ckpt"
    target.parent.mkdir(parents=True)
    target.write_bytes((trained / "checkpoints" / "last.ckpt").read_bytes())
    protocol = json.dumps({**PROTOCOL, **changes})
    assert train(tmp_path, "--data.protocol", protocol, "--resume", "--trainer.max_epochs", 3) == 2
    assert said in error_of(capsys)


def test_training_on_own_maps_that_do_not_say_their_unit_is_refused(undrawn, tmp_path, capsys):
    for number in range(4):
        t1, t2, density = head_phantom(16, np.random.default_rng(number)).maps
        np.savez(tmp_path / f"{number}.npz", T1=t1, T2=t2, PD=density)
    own = ("--data.root", tmp_path, "--data.num_val", 1, "--data.num_test", 1)
    assert train(tmp_path / "runs", *own) == 2
    assert "unit" in error_of(capsys)
    assert train(tmp_path / "runs", *own, "--data.unit_t", "ms") == 2
    assert "ms" in error_of(capsys)
    assert train(tmp_path / "runs", *own, "--data.unit_t", "s", "--trainer.max_epochs", 1) == 0


def test_complex_time_series_are_trained_with_coils(undrawn, tmp_path):
    protocol = json.dumps({**PROTOCOL, "num_coils": 3})
    changes = ("--data.complex_valued", "true", "--data.protocol", protocol, "--trainer.max_epochs", 1)
    assert train(tmp_path, *changes) == 0
    assert load(tmp_path / "small").network.complex_valued


def test_the_published_recipe_runs(tmp_path):
    """The released network, loss and step rule on masks of gridded spirals, at a small size."""
    config = yaml.safe_load(Path(mrf_unroll.__file__).with_name("configs").joinpath("published.yaml").read_text())
    small = {"schedule": "ramp:12", "rank": 4, "grid": [12, 12], "image_size": 16, "samples": 30}
    config["data"] |= {"protocol": config["data"]["protocol"] | small, "num_train": 4, "num_val": 1, "num_test": 1}
    config["model"] |= {"decoder_steps": 20, "encoder": {"name": "resnet", "hidden": 8, "blocks": 2}}
    config["trainer"] |= {"max_epochs": 1, "accelerator": "cpu", "default_root_dir": str(tmp_path), "devices": 1}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    assert run("train", "--config", tmp_path / "config.yaml") == 0
    network = load(tmp_path / "published").network
    assert network.step_rule == "relu_plus_one" and network.iterations == 2
