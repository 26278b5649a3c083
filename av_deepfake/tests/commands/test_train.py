"""The verb train: both stages by their configs, from the shell's words to a run that can be fine-tuned."""

import contextlib
import io
from pathlib import Path

import pytest
import small_training

import av_deepfake
from av_deepfake.commands import train
from av_deepfake.pretrained import load
from shared_utils.logging import read_metrics

CONFIGS = Path(av_deepfake.__file__).parent / "configs"


def written(options, key):
    return [word for name, value in options.items() for word in (f"--{key}.{name}", _plain(value))]


def _plain(value):
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


STEPS = ["--trainer.max_steps", "3", "--trainer.log_every_n_steps", "1", "--trainer.check_val_every_n_epoch", "1"]
NETWORKS = ["--model.video", str(small_training.VIDEO), "--model.audio", str(small_training.AUDIO)]
TALKING = [*STEPS, *NETWORKS, "--model.projection", "8", *written(small_training.TALKING, "data")]
FORGED = [*STEPS, *written(small_training.FORGED, "data")]


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    folder, patch = tmp_path_factory.mktemp("train"), pytest.MonkeyPatch()
    patch.chdir(folder)
    with contextlib.redirect_stdout(io.StringIO()) as said:
        assert train.main(["--config", "--seed", "3", "--name", "small", *TALKING]) == 0
    assert "train.py --config detect.yaml --weights runs/small/version_0" in said.getvalue()
    yield folder / "runs/small/version_0"
    patch.undo()


def test_a_run_keeps_its_curves_and_a_model(pretrained):
    logged = {name for row in read_metrics(pretrained) for name, value in row.items() if value}
    assert {"train_loss", "val_top1_va", "val_rank"} <= logged
    assert (pretrained / "figures/curves.png").is_file() and load(pretrained).audio is not None


def test_fine_tuning_begins_with_a_run(pretrained, capsys):
    arguments = ["--config", "detect.yaml", "--weights", str(pretrained), "--leave-out", "B", *FORGED]
    assert train.main(arguments) == 0
    assert "evaluate.py --ckpt runs/detect/version_0" in capsys.readouterr().out
    model = load("runs/detect/version_0")
    assert model.detector is not None and model.training_data["detection"]["methods"] == ["A", "C", "D"]


def test_words_of_the_grammar_are_keys_of_the_config():
    spelled = train.spelled_out(["--data", "mouths", "--seed=5", "--leave-out", "C", "--weights=run"])
    assert spelled == [
        *("--data.root", "mouths", "--seed_everything", "5", "--data.seed", "5"),
        *("--data.leave_out", "C", "--model.weights", "run"),
    ]


@pytest.mark.parametrize("name", sorted(path.name for path in CONFIGS.glob("*.yaml")))
def test_every_config_says_its_stage_and_builds(name, scratch, capsys):
    assert train.main(["--config", name, "--print_config"]) == 0
    stage = train.stage_of(["--config", name])
    assert f"stage: {stage}" in capsys.readouterr().out
    assert stage == ("detection" if name in ("detect.yaml", "ffpp.yaml") else "pretraining")


def test_data_that_are_not_there_are_named(scratch, capsys):
    assert train.main(["--config", "--data", "nowhere"]) == 2
    assert "nowhere not found" in capsys.readouterr().err and not (scratch / "runs/default").exists()
    assert train.main(["--config", "absent.yaml"]) == 2
