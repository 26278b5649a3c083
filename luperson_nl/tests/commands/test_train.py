"""`train`: a run from the command line, killed and resumed within an epoch with equal bits, and what it refuses."""

import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from small_training import ARGUMENTS

from luperson_nl import pretrained
from luperson_nl.commands.train import main
from luperson_nl.shorthand import spelled_out
from shared_utils.checkpoint import load_tensors

ROOT = Path(__file__).parents[2]
MIDWAY = {
    "class_path": "pytorch_lightning.callbacks.ModelCheckpoint",
    "init_args": {"filename": "step", "every_n_train_steps": 7, "enable_version_counter": False},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of two epochs, the folder it was started in."""
    place = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        assert main([*ARGUMENTS, "--name", "whole"]) == 0
    return place / "runs" / "whole" / "version_0"


def test_a_run_leaves_metrics_labels_and_an_embedder(run, scratch):
    embedder = pretrained.load(run)
    assert embedder.size == (32, 16) and embedder.embed([np.zeros((40, 20, 3), np.uint8)]).shape == (1, 96)
    with np.load(run / "labels_epoch01.npz") as kept:
        assert len(kept["key"]) == len(kept["corrected"]) and (kept["max_p"] > 0).all()
    header = (run / "metrics.csv").read_text().splitlines()[0].split(",")
    assert {"val_mAP", "test_mAP", "labels_right_person", "labels_precision", "train_proto"} <= set(header)


def killed(place, argv):
    """Run ``train`` in this forked process until the fourth batch of the second epoch, and die."""
    from luperson_nl.lightning_module import PretrainingModule

    os.chdir(place)

    def die(self, *_):
        if self.current_epoch == 1 and self.trainer.fit_loop.epoch_loop.batch_progress.current.ready == 4:
            os.kill(os.getpid(), signal.SIGKILL)

    PretrainingModule.on_train_batch_end = die  # the process is its own
    main(argv)


def test_killed_within_an_epoch_and_resumed_gives_equal_bits(run, scratch):
    config = scratch / "midway.yaml"
    config.write_text(yaml.safe_dump({"trainer": {"callbacks": [MIDWAY]}}))
    argv = ["--config", "default.yaml", "--config", str(config), *ARGUMENTS, "--name", "stopped"]
    process = multiprocessing.get_context("fork").Process(target=killed, args=(scratch, argv))
    process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL
    place = scratch / "runs" / "stopped" / "version_0"
    step = load_tensors(place / "checkpoints" / "step.ckpt")
    batches = step["loops"]["fit_loop"]["epoch_loop.batch_progress"]["current"]["ready"]
    assert step["epoch"] == 1 and 0 < batches < 4
    assert main([*argv, "--resume"]) == 0
    whole, resumed = (load_tensors(folder / "checkpoints" / "last.ckpt") for folder in (run, place))
    for name, value in whole["state_dict"].items():
        assert torch.equal(value, resumed["state_dict"][name]), name
    momentum = [state["optimizer_states"][0]["state"][0]["momentum_buffer"] for state in (whole, resumed)]
    assert torch.equal(*momentum)
    with np.load(run / "labels_epoch01.npz") as first, np.load(place / "labels_epoch01.npz") as second:
        assert all(np.array_equal(first[name], second[name]) for name in first.files)


def refused(capsys, *argv):
    assert main([*ARGUMENTS, *argv]) == 2
    lines = capsys.readouterr().err.splitlines()
    errors = [line for line in lines if "error:" in line]
    assert len(errors) == 1 and "Traceback" not in "\n".join(lines)
    return errors[0]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--model.queue_size", "4"], "queue"),
        (["--model.stages.prototypes", "null"], "prototypes"),
        (["--data.batch_size", "1000"], "make no batch of 1000"),
        (["--data", "nowhere"], "nowhere"),
        (["--weights", "nothing.pth"], "nothing.pth"),
        (["--model.trunk", "resnet"], "resnet"),
        (["--data.strong", "ori+x"], "ori+x"),
        (["--data.views", "[weak]"], "two views"),
    ],
)
def test_what_cannot_work_ends_in_one_line_before_training(argv, message, scratch, capsys):
    assert message in refused(capsys, *argv)
    assert not list(scratch.rglob("metrics.csv"))


def test_other_identities_are_named_with_the_fix(run, scratch, capsys):
    line = refused(capsys, "--ckpt_path", str(run), "--data.street.persons", "10")
    assert "identities" in line and "--weights" in line


def test_a_run_begins_with_the_trunk_of_another(run, scratch, capsys):
    assert main([*ARGUMENTS, "--weights", str(run), "--data.seed", "5", "--trainer.fast_dev_run", "1"]) == 0


def test_words_of_the_grammar_are_keys_of_the_config():
    assert spelled_out(["--data", "store", "--seed=3", "--save-labels", "--name", "a"]) == [
        *(
            "--data.root",
            "store",
            "--seed_everything",
            "3",
            "--data.seed",
            "3",
            "--model.save_labels",
            "true",
            "--name",
            "a",
        )
    ]


def test_the_published_recipes_are_configs_that_parse(scratch, capsys):
    folder = ROOT / "luperson_nl" / "configs"
    names = sorted(path.name for path in folder.glob("*_lupnl.yaml"))
    assert names == [f"{name}_lupnl.yaml" for name in ("moco", "pnl", "simclr", "supcon", "supervised")]
    assert main(["--config", "pnl_lupnl.yaml", "--print_config"]) == 0
    shown = yaml.safe_load(capsys.readouterr().out)
    assert shown["data"]["batch_size"] == 1536 and shown["model"]["recipe"]["milestones"] == [40, 80]


def test_the_command_runs_in_a_shell(scratch):
    done = subprocess.run([sys.executable, ROOT / "train.py", "--data", "x", "--help"], capture_output=True, text=True)
    assert done.returncode == 0 and "default.yaml" in done.stdout
