"""`train` from the command line: a run that resumes, its checkpoint, its configs."""

from pathlib import Path

import pytest
import yaml
from small_training import ARGUMENTS

from ict_deepfake.commands import train
from ict_deepfake.pretrained import load
from shared_utils.logging import read_metrics

CONFIGS = Path(train.__file__).parents[1] / "configs"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    patch = pytest.MonkeyPatch()
    patch.chdir(folder)
    assert train.main(["--config", "--seed", "3", "--name", "small", *ARGUMENTS]) == 0
    yield folder / "runs/small/version_0"
    patch.undo()


def test_a_run_keeps_its_settings_its_curves_and_a_detector(trained):
    settings = yaml.safe_load((trained / "config.yaml").read_text())
    assert settings["seed_everything"] == settings["data"]["seed"] == 3
    logged = {name for row in read_metrics(trained) for name, value in row.items() if value}
    assert {"val_auc", "train_loss", "test_auc_rerender"} <= logged
    assert load(trained).size == 16 and len(load(trained).alignment.template) == 5


def test_a_finished_run_trains_on(trained, capsys):
    arguments = ["--config", "--seed", "3", "--name", "small", *ARGUMENTS, "--resume", "--trainer.max_steps", "10"]
    assert train.main(arguments) == 0
    assert "evaluate.py --ckpt" in capsys.readouterr().out


def test_words_of_the_grammar_are_keys_of_the_config():
    spelled = train.spelled_out(["--data", "people", "--seed=5", "--data.size", "48"])
    assert spelled == ["--data.root", "people", "--seed_everything", "5", "--data.seed", "5", "--data.size", "48"]


@pytest.mark.parametrize("name", sorted(path.name for path in CONFIGS.glob("*.yaml")))
def test_every_config_builds(name, scratch, capsys):
    assert train.main(["--config", name, "--trainer.accelerator", "cpu", "--print_config"]) == 0
    shown = yaml.safe_load(capsys.readouterr().out)
    assert shown["model"]["method"] == "ict" and shown["data"]["size"] >= 32


def test_a_data_set_that_is_not_there_is_named(scratch, capsys):
    assert train.main(["--config", "orl.yaml", "--data", "nowhere"]) == 2
    assert "nowhere not found" in capsys.readouterr().err and not (scratch / "runs/orl").exists()
