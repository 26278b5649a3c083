"""Training: Lightning's own flags work or are refused in one line, runs keep apart, every process draws its own numbers."""

import io
import json
import logging
import multiprocessing
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import draws
import pytest
import torch
import train
import yaml

from shared_utils import checkpoint, cli
from shared_utils.callbacks import ProgressLines

ONE = ("--trainer.max_epochs", "1")


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def names(folder="runs/line/version_0"):
    return sorted(path.name for path in Path(folder).iterdir() if not path.name.startswith("events"))


def train_and_then(arguments, after):
    return cli.train(
        train.classes, arguments, links={"num_features": "num_features"}, monitor=("val/loss", "min"), after=after
    )


# --- Lightning's flags that work -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "flag",
    [
        *("--trainer.overfit_batches=2", "--trainer.limit_val_batches=2", "--trainer.max_steps=8"),
        *("--trainer.precision=bf16-mixed", "--trainer.accumulate_grad_batches=2", "--trainer.max_time=00:01:00:00"),
        *("--trainer.val_check_interval=0.5", "--trainer.deterministic=true", "--trainer.profiler=simple"),
        *("--trainer.gradient_clip_val=1", "--seed_everything=false", "--seed=3", "--data.batch_size=1000"),
    ],
)
def test_a_flag_of_lightning_leaves_a_whole_run_without_warnings(flag, capsys):
    called = []
    assert train_and_then([flag, *ONE], lambda training, folder: called.append(folder)) == 0
    assert called == [Path("runs/line/version_0")]
    assert {"best-0.ckpt", "last.ckpt"} == set(names("runs/line/version_0/checkpoints"))
    printed = capsys.readouterr()
    assert printed.out.splitlines()[-1] == "run: runs/line/version_0"
    reported = [line for line in printed.err.splitlines() if line.strip()]
    assert all(line.startswith("INFO") for line in reported) and "FLOPs" not in printed.out + printed.err


@pytest.mark.parametrize("flag", ["--trainer.fast_dev_run=true", "--trainer.barebones=true"])
def test_a_trial_run_leaves_nothing_and_says_so(flag, capsys):
    assert train_and_then([flag, *ONE], lambda training, folder: pytest.fail("there is nothing to draw")) == 0
    assert "nothing is kept of this run" in capsys.readouterr().out
    assert os.listdir() == []  # noqa: PTH208


@pytest.mark.parametrize(
    ("flag", "missing", "why"),
    [
        ("--trainer.logger=false", "metrics.csv", "no metrics.csv (trainer.logger is false)"),
        (
            "--trainer.enable_checkpointing=false",
            "checkpoints",
            "no checkpoints (trainer.enable_checkpointing is false)",
        ),
        ("--trainer.limit_val_batches=0", "metrics.csv", "no metrics.csv (nothing was logged)"),
    ],
)
def test_a_run_that_keeps_less_says_what_it_cannot_draw(flag, missing, why, capsys):
    assert train_and_then([flag, *ONE], lambda training, folder: pytest.fail("there is nothing to draw")) == 0
    printed = capsys.readouterr()
    assert f"no figures: this run keeps {why}" in printed.err and "run: runs/line/version_0" in printed.out
    assert missing not in names() and "config.yaml" in names()
    assert os.listdir() == ["runs"]  # noqa: PTH208


@pytest.mark.parametrize("rare", ["--trainer.check_val_every_n_epoch=5", "--trainer.val_check_interval=3"])
def test_a_run_that_ends_before_its_first_validation_keeps_its_weights(rare):
    assert train.main(["--trainer.max_steps=2", "--trainer.limit_val_batches=1", rare]) == 0
    assert names("runs/line/version_0/checkpoints") == ["last.ckpt"]
    kept = torch.load("runs/line/version_0/checkpoints/last.ckpt", weights_only=True)
    assert kept["global_step"] == 2


def test_a_run_between_two_validations_keeps_its_newest_epoch_and_goes_on_from_it():
    rare = ["--trainer.check_val_every_n_epoch=2", "--trainer.limit_train_batches=2", "--trainer.limit_val_batches=1"]
    assert train.main(["--trainer.max_epochs=3", *rare]) == 0
    kept = torch.load("runs/line/version_0/checkpoints/last.ckpt", weights_only=True)
    assert kept["global_step"] == 6
    assert train.main(["--trainer.max_epochs=4", "--resume", *rare]) == 0
    assert torch.load("runs/line/version_0/checkpoints/last.ckpt", weights_only=True)["global_step"] == 8


@pytest.mark.parametrize("kind", ["TensorBoardLogger", "CSVLogger"])
def test_a_logger_of_the_config_writes_beside_the_runs_own_table(kind):
    Path("logger.yaml").write_text(
        f"trainer: {{logger: {{class_path: {kind}, init_args: {{save_dir: mine, name: curves}}}}}}\n"
    )
    called = []
    arguments = ["--config", "configs/default.yaml", "--config", "logger.yaml", *ONE]
    assert train_and_then(arguments, lambda training, folder: called.append(folder)) == 0
    assert called == [Path("runs/line/version_0")] and "metrics.csv" in names()
    assert list(Path("mine/curves").glob("version_0/*"))


def test_a_run_that_ends_before_its_first_validation_says_that_it_has_no_best(capsys):
    assert train.main(["--trainer.max_steps", "3"]) == 0
    assert "no best checkpoint: val/loss was not measured in this run" in capsys.readouterr().err
    assert names("runs/line/version_0/checkpoints") == ["last.ckpt"]


# --- settings that cannot work ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--trainer.max_epochs=0"], "trainer.max_epochs: 0 trains nothing; give 1 or more"),
        (["--trainer.max_epochs=-2"], "trainer.max_epochs: -2 is not a number of epochs"),
        (["--trainer.max_steps=0"], "trainer.max_steps: 0 trains nothing"),
        (["--trainer.limit_train_batches=0"], "trainer.limit_train_batches: 0 trains nothing"),
        (["--trainer.limit_train_batches=0.01"], "0.01 * 8 < 1"),
        (["--trainer.limit_val_batches=-1"], "limit_val_batches"),
        (["--trainer.devices=0"], "trainer.devices: 0 leaves nothing to train on"),
        (["--trainer.devices=1000"], "trainer.devices: 1000 processes on"),
        (["--trainer.num_nodes=0"], "trainer.num_nodes: 0 is not possible"),
        (["--trainer.accelerator=abacus"], "invalid accelerator name"),
        (["--trainer.strategy=abacus"], "invalid strategy name"),
        (["--trainer.precision=12"], "trainer.precision"),
        (["--trainer.profiler=abacus"], "profiler"),
        (["--trainer.max_time=never"], "never"),
        (["--trainer.check_val_every_n_epoch=0"], "trainer.check_val_every_n_epoch: 0 is not possible"),
        (["--trainer.val_check_interval=0"], "trainer.val_check_interval: 0 is no interval"),
        (["--trainer.val_check_interval=1000"], "must be less than or equal to the number of the training batches"),
        (["--trainer.accumulate_grad_batches=0"], "trainer.accumulate_grad_batches: 0 is not possible"),
        (["--trainer.gradient_clip_algorithm=abacus"], "gradient_clip_algorithm"),
        (["--trainer.logger=NoSuchLogger"], "trainer.logger"),
        (["--trainer.callbacks+=EarlyStopping", "--trainer.callbacks.monitor=abacus"], "abacus"),
        (["--data.batch_size=0"], "batch_size should be a positive integer"),
        (["--data.num_points=0"], "num_samples=0"),
        (["--seed_everything=-1"], "-1"),
        (["--model.width=0.5"], "model.width: expected a whole number, got 0.5"),
        (["--config", "model.yaml"], "model.yaml: model has settings of its own (name: value below it), got 3"),
        (["--config=data.yaml"], "data.yaml: data has settings of its own"),
        (["--config", "trainer.yaml"], "trainer.yaml: trainer has settings of its own"),
        (["--model", "3"], "model"),
        (["--trainer", "3"], "trainer"),
        (["--name", "../../x"], "--name '../../x' is not a name for a run"),
        (["--name", "/elsewhere/x"], "--name '/elsewhere/x' is not a name for a run"),
        (["--name="], "--name '' is not a name for a run"),
        (["--name", ".."], "--name '..' is not a name for a run"),
        (["--ckpt_path", "absent.ckpt"], "absent.ckpt not found"),
        (["--ckpt_path", "last"], "last not found"),
        (["--ckpt_path", "text.ckpt"], "text.ckpt is plain text, not a checkpoint"),
        (["--ckpt_path", "text.ckpt", "--resume"], "--resume and --ckpt_path are two beginnings"),
    ],
)
def test_settings_that_cannot_work_are_one_line_and_leave_nothing(arguments, expected, capsys):
    for group in ("model", "data", "trainer"):
        Path(f"{group}.yaml").write_text(f"{group}: 3\n")
    Path("text.ckpt").write_text("a text that is longer than a few letters\n")
    before = sorted(Path().rglob("*"))
    assert train.main(arguments) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("INFO")]
    assert len(errors) == 1 and "error: " in errors[0] and expected in errors[0]
    left = [path for path in Path().rglob("*") if path.is_file() and path not in before]
    assert left == [] or "abacus" in arguments[-1]  # only after an epoch is it known what is logged


def test_training_on_a_gpu_without_one_is_one_line(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    for kind in ("gpu", "cuda"):
        assert train.main([f"--trainer.accelerator={kind}"]) == 2
        assert f"trainer.accelerator: {kind}, but there is no GPU here; use auto or cpu" in capsys.readouterr().err


def test_a_logger_whose_package_is_missing_says_what_to_install(monkeypatch, capsys):
    pytest.importorskip("pytorch_lightning.loggers.wandb")
    from pytorch_lightning.loggers import wandb

    if wandb._WANDB_AVAILABLE:
        pytest.skip("wandb is installed here")
    assert train.main(["--trainer.logger=WandbLogger"]) == 2
    assert "wandb is not installed: pip install" in capsys.readouterr().err


def test_a_bug_of_the_model_is_not_dressed_as_a_mistake_of_the_settings(monkeypatch):
    import toy

    monkeypatch.setattr(toy.Line, "configure_optimizers", lambda self: {}["absent"])
    with pytest.raises(KeyError):
        train.main([*ONE])


# --- run folders -----------------------------------------------------------------------------------------------------


def start(gate, number):
    sys.stderr = io.StringIO()
    gate.wait()
    os._exit(train.main(["--trainer.max_steps=1", "--trainer.limit_val_batches=0"]))


def test_several_starts_of_one_name_at_the_same_moment_get_a_folder_each():
    context = multiprocessing.get_context("fork")
    gate = context.Barrier(4)
    starts = [context.Process(target=start, args=(gate, number)) for number in range(4)]
    for one in starts:
        one.start()
    for one in starts:
        one.join(600)
    assert [one.exitcode for one in starts] == [0] * 4
    assert sorted(path.name for path in Path("runs/line").iterdir()) == [f"version_{number}" for number in range(4)]
    for folder in Path("runs/line").iterdir():
        assert {"config.yaml", "checkpoints"} <= set(names(folder))


def test_a_name_may_have_parts_and_stays_under_the_root():
    assert train.main(["--name", "claim/training", "--trainer.default_root_dir", "elsewhere", *ONE]) == 0
    assert "metrics.csv" in names("elsewhere/claim/training/version_0")
    assert train.main(["--name", "claim/training", "--trainer.default_root_dir", "elsewhere", "--resume"]) == 0
    assert names("elsewhere/claim/training") == ["version_0"]


# --- going on --------------------------------------------------------------------------------------------------------


def epoch(path):
    return checkpoint.load_tensors(path)["epoch"]


def test_resuming_continues_the_newest_good_checkpoint_of_all_versions(capsys):
    for _ in range(3):
        assert train.main([*ONE]) == 0
    for path in Path("runs/line/version_2/checkpoints").iterdir():
        path.write_bytes(path.read_bytes()[:-100])
    assert train.main(["--resume", "--trainer.max_epochs=2"]) == 0
    printed = capsys.readouterr()
    assert printed.out.splitlines()[-1] == "run: runs/line/version_1"
    assert "skipped: runs/line/version_2/checkpoints/last.ckpt is truncated" in printed.err
    assert epoch("runs/line/version_1/checkpoints/last.ckpt") == 1
    kept = yaml.safe_load(Path("runs/line/version_1/config.yaml").read_text())
    assert kept["resume"] is False and kept["trainer"]["max_epochs"] == 2


def test_resuming_a_finished_run_says_so_and_draws_its_figures(capsys):
    assert train.main([*ONE]) == 0
    called = []
    assert train_and_then(["--resume", *ONE], lambda training, folder: called.append(folder)) == 0
    assert "is finished already, at step 8: a larger trainer.max_epochs trains on" in capsys.readouterr().err
    assert called == [Path("runs/line/version_0")]


def test_a_checkpoint_of_another_width_names_the_first_entry_and_leaves_the_run_as_it_is(capsys):
    assert train.main([*ONE]) == 0
    before = {path: path.read_bytes() for path in Path("runs").rglob("*") if path.is_file()}
    assert train.main(["--resume", "--model.width=5"]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "last.ckpt does not fit the model: net.1.weight is (1, 3) there and (5, 3) here" in error
    assert {path: path.read_bytes() for path in before} == before


def test_a_given_checkpoint_is_continued_in_a_new_folder():
    assert train.main(["--name", "a", *ONE]) == 0
    assert train.main(["--name", "b", "--ckpt_path", "runs/a/version_0/checkpoints/last.ckpt"]) == 0
    assert epoch("runs/a/version_0/checkpoints/last.ckpt") == 0
    assert epoch("runs/b/version_0/checkpoints/last.ckpt") == 3
    assert train.main(["--name", "whole"]) == 0
    states = [
        checkpoint.load_tensors(f"runs/{n}/version_0/checkpoints/last.ckpt")["state_dict"] for n in ("b", "whole")
    ]
    assert all(torch.equal(states[0][name], value) for name, value in states[1].items())


def test_given_weights_are_what_training_begins_with(capsys):
    assert train.main(["--name", "a", *ONE]) == 0
    state = checkpoint.load_tensors("runs/a/version_0/checkpoints/last.ckpt")["state_dict"]
    checkpoint.save_safetensors(state, "weights.safetensors")
    still = ["--model.learning_rate=0", *ONE]
    assert train.main(["--name", "b", "--ckpt_path", "weights.safetensors", *still]) == 0
    assert "beginning with the weights of weights.safetensors: 2 entries matched" in capsys.readouterr().err
    begun = checkpoint.load_tensors("runs/b/version_0/checkpoints/last.ckpt")["state_dict"]
    assert all(torch.equal(begun[name], value) for name, value in state.items())
    assert train.main(["--ckpt_path", "weights.safetensors", "--model.width=2"]) == 2
    assert "net.1.weight (1, 3) for (2, 3)" in capsys.readouterr().err


# --- several processes -----------------------------------------------------------------------------------------------


def notes(folder, what, first=0):
    """What the two processes have noted, from an epoch on."""
    lines = [[json.loads(line) for line in Path(folder, f"{rank}.jsonl").read_text().splitlines()] for rank in range(2)]
    return [[value for number, kind, value in rank if kind == what and number >= first] for rank in lines]


@pytest.mark.parametrize("workers", [0, 1])
def test_every_process_draws_its_own_numbers_and_a_resumed_run_those_of_the_unbroken_one(workers):
    shared = [f"--data.num_workers={workers}", "--trainer.num_sanity_val_steps=0"]
    assert draws.main(["--name=whole", "--model.notes=whole", *shared]) == 0
    first, second = notes("whole", "draws")
    assert len(first) == len(second) == 8
    for one, other in zip(first, second, strict=True):  # of the data's workers, torch, NumPy, Python
        assert all(a != b for a, b in zip(one, other, strict=True))
    weights = notes("whole", "weights")
    assert weights[0] == weights[1]  # one model, before anything is drawn apart
    assert draws.main(["--name=broken", "--model.notes=before", "--trainer.max_epochs=2", *shared]) == 0
    assert draws.main(["--name=broken", "--model.notes=after", "--resume", *shared]) == 0
    for what in ("draws", "trained"):
        assert notes("after", what) == notes("whole", what, first=2)
        assert notes("before", what) == [rank[: len(rank) // 2] for rank in notes("whole", what)]


def test_a_checkpoint_of_other_processes_is_continued_with_a_warning(capfd):
    assert draws.main(["--trainer.max_epochs=1"]) == 0
    assert draws.main(["--resume", "--trainer.max_epochs=2", "--trainer.devices=1", "--trainer.strategy=auto"]) == 0
    assert "the checkpoint is of 2 processes, this run has 1" in capfd.readouterr().err


# --- progress --------------------------------------------------------------------------------------------------------


def test_lines_of_progress_come_every_half_minute_and_at_the_ends_of_epochs(caplog):
    now = [0.0]
    lines = ProgressLines("val/loss", clock=lambda: now[0])
    trainer = SimpleNamespace(
        **{"is_global_zero": True, "max_epochs": 2, "max_steps": -1, "num_training_batches": 100},
        **{"accumulate_grad_batches": 1, "current_epoch": 0, "callback_metrics": {}, "sanity_checking": False},
        fit_loop=SimpleNamespace(total_batch_idx=-1),
    )
    caplog.set_level(logging.INFO)
    lines.on_train_start(trainer, None)
    for number in range(2):
        trainer.current_epoch = number
        for _ in range(100):
            now[0] += 1
            lines.on_train_batch_end(trainer, None, {"loss": torch.tensor(0.5)}, None, 0)
        trainer.callback_metrics = {"val/loss": torch.tensor(0.25)}
        lines.on_train_epoch_end(trainer, None)
    lines.on_train_end(trainer, None)
    assert [record.getMessage() for record in caplog.records] == [
        "epoch 1 of 2, step 30 of 200, loss 0.5, about 2 min 50 s left",
        "epoch 1 of 2, step 60 of 200, loss 0.5, about 2 min 20 s left",
        "epoch 1 of 2, step 90 of 200, loss 0.5, about 1 min 50 s left",
        "epoch 1 of 2, step 100 of 200, loss 0.5, val/loss 0.25, about 1 min 40 s left",
        "epoch 2 of 2, step 130 of 200, loss 0.5, val/loss 0.25, about 1 min 10 s left",
        "epoch 2 of 2, step 160 of 200, loss 0.5, val/loss 0.25, about 40 s left",
        "epoch 2 of 2, step 190 of 200, loss 0.5, val/loss 0.25, about 10 s left",
        "epoch 2 of 2, step 200 of 200, loss 0.5, val/loss 0.25",
        "epoch 2 of 2, step 200 of 200, loss 0.5, val/loss 0.25, trained for 3 min 20 s",
    ]


def test_training_reports_its_model_and_its_end(capsys):
    assert train.main([*ONE]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "INFO     training Line, 4 parameters, on cpu"
    assert lines[1].startswith("INFO     epoch 1 of 1, step 8 of 8, loss ") and "trained for" in lines[1]
    assert len(lines) == 2
