"""The command line: what is understood, and one line with status 2 for what is not."""

import os
import resource
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import greet
import pytest
import torch
import train
import yaml

TOY = Path(__file__).parent / "toy"


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def shell(script, *arguments, **options):
    return subprocess.run(
        [sys.executable, TOY / script, *arguments], capture_output=True, text=True, timeout=600, **options
    )


def interruptible():
    """Before a child starts: hear Ctrl-C also where the tests themselves run in the background, deaf to it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def run_and_list_modules(code):
    code = f"import sys; sys.path.insert(0, {str(TOY)!r}); {code}; print(sorted(sys.modules))"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=600).stdout


def weights(run):
    return torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


# --- verbs ---------------------------------------------------------------------------------------------------------


def test_a_verb_takes_arguments_from_the_line_and_from_a_file(capsys):
    Path("a.yaml").write_text("name: file\ntimes: 2\n")
    assert greet.main(["--config", "a.yaml", "--mood", "sad", "--name", "line"]) == 0
    assert capsys.readouterr().out == "hello line (sad)\n" * 2


@pytest.mark.parametrize(
    ("given", "loud"), [([], False), (["--loud"], True), (["--loud", "false"], False), (["--loud", "true"], True)]
)
def test_a_truth_value_is_given_by_its_name_alone_or_in_words(given, loud, capsys):
    assert greet.main([*given, "--times", "1"]) == 0
    assert ("HELLO" in capsys.readouterr().out) == loud


def test_print_config_of_a_verb_can_be_read_back(capsys):
    assert greet.main(["--times", "3", "--print_config"]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["times"] == 3


def test_help_and_wrong_arguments_answer_before_torch_is_loaded():
    for arguments in (["--help"], ["--tims", "3"]):
        loaded = run_and_list_modules(f"import greet; greet.main({arguments!r})").splitlines()[-1]
        assert "'jsonargparse'" in loaded
        assert "'torch'" not in loaded and "'pytorch_lightning'" not in loaded


def test_help_of_training_answers_before_torch_is_loaded():
    printed = run_and_list_modules("import train; train.main(['--help'])")
    assert "learning_rate" in printed and "--resume" in printed
    assert "'torch'" not in printed.splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--tims", "3"], "unknown argument tims: did you mean times?"),
        (["--times", "many"], "times: expected a whole number, got many"),
        (["--pause", "long"], "pause: expected a number or null, got long"),
        (["--mood", "angry"], "mood: expected one of glad, sad, got angry"),
        (["--config", "no.yaml"], "config no.yaml not found"),
        (["--config", "."], ". is a folder"),
        (["--config", "broken.yaml"], "broken.yaml, line 2, column 2: not YAML"),
        (["--config", "list.yaml"], "a config maps argument names to values"),
        (["--config", "unknown.yaml"], "did you mean times?"),
        (["--name", "nobody"], "nobody cannot be greeted: give --name"),
        (["--out", "file/below/a/file"], "is a file where a folder is needed"),
        (["--out", "."], "folder"),
    ],
)
def test_a_mistake_gives_one_line_and_status_2(arguments, said, capsys):
    Path("broken.yaml").write_text("a: [1\nb: 2\n")
    Path("list.yaml").write_text("- 1\n")
    Path("unknown.yaml").write_text("tims: 1\n")
    Path("file").touch()
    assert greet.main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.count("\n") == 1
    assert said in printed.err


def test_the_shell_sees_status_2_one_line_and_no_traceback():
    done = shell("greet.py", "--name", "nobody")
    assert done.returncode == 2
    assert done.stderr == "greet.py: error: nobody cannot be greeted: give --name\n"


def test_debug_shows_the_traceback():
    done = shell("greet.py", "--name", "nobody", "--debug")
    assert done.returncode == 2 and "Traceback" in done.stderr


def test_a_bug_is_not_dressed_as_a_mistake_of_the_user():
    done = shell("greet.py", "--name", "bug")
    assert done.returncode == 1 and "ZeroDivisionError" in done.stderr


def test_a_reader_that_leaves_ends_it_quietly():
    done = shell("greet.py", "--name", "unheard")
    assert done.returncode == 141 and done.stderr == ""


def test_control_c_ends_with_130():
    process = subprocess.Popen(
        [sys.executable, TOY / "greet.py", "--name", "slow"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=interruptible,
    )
    assert process.stdout.readline() == "waiting\n"
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 130
    assert errors == "greet.py: error: interrupted; what was finished is kept\n"


def test_no_space_left_gives_one_line_and_keeps_the_old_file():
    Path("out.txt").write_text("old")
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))  # noqa: E731
    done = shell("greet.py", "--times", "1000", "--out", "out.txt", preexec_fn=limit)
    assert done.returncode == 2
    assert done.stderr.startswith("greet.py: error: no space left") and done.stderr.count("\n") == 1
    assert Path("out.txt").read_text() == "old"
    assert os.listdir() == ["out.txt"]  # noqa: PTH208


# --- training ------------------------------------------------------------------------------------------------------


def test_config_with_nothing_after_it_means_the_default():
    default = "default.yaml"
    assert train.cli.with_default_config([], default) == ["--config", default]
    assert train.cli.with_default_config(["--config"], default) == ["--config", default]
    assert train.cli.with_default_config(["--config", "--debug"], default) == ["--config", default, "--debug"]
    assert train.cli.with_default_config(["--config", "a.yaml"], default) == ["--config", "a.yaml"]
    assert train.cli.with_default_config(["--config=a.yaml"], default) == ["--config=a.yaml"]


def test_configs_overlay_and_dotted_arguments_override(capsys):
    Path("over.yaml").write_text("model: {learning_rate: 0.5}\ndata: {batch_size: 4}\n")
    default = str(TOY / "configs" / "default.yaml")
    assert train.main(["--config", default, "--config", "over.yaml", "--data.batch_size", "2", "--print_config"]) == 0
    shown = yaml.safe_load(capsys.readouterr().out)
    assert shown["model"]["learning_rate"] == 0.5
    assert shown["data"]["batch_size"] == 2
    assert shown["trainer"]["max_epochs"] == 4


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--trainer.max_epoch", "3"], "unknown argument trainer.max_epoch: did you mean trainer.max_epochs?"),
        (["--model.lerning_rate", "3"], "did you mean model.learning_rate?"),
        (["--model.learning_rate", "fast"], "model.learning_rate: expected a number, got fast"),
        (["--config", "unknown.yaml"], "did you mean model.learning_rate?"),
        (["--config", "no.yaml"], "config no.yaml not found"),
        (["--resume"], "nothing to resume in runs/line"),
    ],
)
def test_a_mistake_in_training_gives_one_line_and_status_2(arguments, said, capsys):
    Path("unknown.yaml").write_text("model: {lerning_rate: 1}\n")
    assert train.main(arguments) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if "Seed set" not in line]
    assert len(errors) == 1 and said in errors[0]


def test_training_leaves_a_run_folder_with_everything_in_it():
    assert train.main(["--config", "--trainer.max_epochs", "1"]) == 0
    run = Path("runs/line/version_0")
    assert yaml.safe_load((run / "config.yaml").read_text())["trainer"]["max_epochs"] == 1
    assert "val/loss" in (run / "metrics.csv").read_text()
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == ["best-0.ckpt", "last.ckpt"]


def test_the_last_epoch_is_kept_even_where_it_is_not_the_best():
    assert train.main(["--model.learning_rate", "0"]) == 0
    folder = Path("runs/line/version_0/checkpoints")
    assert sorted(path.name for path in folder.iterdir()) == ["best-0.ckpt", "last.ckpt"]
    assert torch.load(folder / "last.ckpt", weights_only=True)["epoch"] == 3


def test_a_resumed_run_ends_with_the_weights_and_curves_of_an_unbroken_one():
    assert train.main(["--name", "whole"]) == 0
    assert train.main(["--name", "broken", "--trainer.max_epochs", "2"]) == 0
    assert train.main(["--name", "broken", "--resume"]) == 0
    whole, broken = Path("runs/whole/version_0"), Path("runs/broken/version_0")
    for name, value in weights(whole).items():
        assert torch.equal(value, weights(broken)[name]), name
    assert (broken / "metrics.csv").read_text() == (whole / "metrics.csv").read_text()


def test_resuming_skips_a_damaged_checkpoint():
    assert train.main(["--trainer.max_epochs", "2"]) == 0
    newest = Path("runs/line/version_0/checkpoints/last.ckpt")
    newest.write_bytes(newest.read_bytes()[:-100])
    assert train.main(["--resume", "--trainer.max_epochs", "3"]) == 0
    assert weights(Path("runs/line/version_0"))


def training_that_holds(*arguments, **options):
    """Training in a process of its own, at the beginning of its third epoch."""
    process = subprocess.Popen(
        [sys.executable, TOY / "train.py", *arguments, "--model.hold", "true"],
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )
    while not Path("holding").exists():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.02)
    return process


def test_killed_training_resumes_to_the_weights_of_an_unbroken_run():
    assert train.main(["--name", "whole"]) == 0
    process = training_that_holds("--name", "killed")
    process.kill()
    process.communicate()
    assert train.main(["--name", "killed", "--resume"]) == 0
    for name, value in weights(Path("runs/whole/version_0")).items():
        assert torch.equal(value, weights(Path("runs/killed/version_0"))[name]), name


def test_a_second_resume_of_running_training_reports_who_holds_it(capsys):
    process = training_that_holds("--name", "held")
    assert train.main(["--name", "held", "--resume"]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert f"runs/held/version_0 is in use by process {process.pid} on {socket.gethostname()}, since " in error
    process.kill()
    process.communicate()
    assert train.main(["--name", "held", "--resume"]) == 0


def test_control_c_in_training_ends_with_130_and_keeps_the_checkpoints():
    process = training_that_holds(stdout=subprocess.DEVNULL, preexec_fn=interruptible)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 130
    assert "Traceback" not in errors and "interrupted; what was finished is kept" in errors
    assert weights(Path("runs/line/version_0"))
