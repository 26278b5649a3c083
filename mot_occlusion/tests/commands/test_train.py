import csv

import numpy as np
import pytest
import torch
from conftest import PROJECT

from mot_occlusion import pretrained
from mot_occlusion.commands import train as train_command
from mot_occlusion.data.synthetic_crowd import write_crowd
from mot_occlusion.lightning_module import TrackingModule
from mot_occlusion.pretrained import load_model

SIZE = (64, 96)


@pytest.fixture(scope="module")
def crowd(tmp_path_factory):
    root = tmp_path_factory.mktemp("crowd")
    write_crowd(root / "train", 2, 12, seed=5, size=SIZE, num_people=(4, 6))
    return root


def _arguments(crowd, *more):
    return [
        *("--config", "configs/default.yaml"),
        *("--data.root", str(crowd), "--data.input_size", "[64,96]", "--data.max_objects", "16"),
        *("--trainer.accelerator", "cpu", "--trainer.max_epochs", "1", "--trainer.enable_progress_bar", "false", *more),
    ]


@pytest.fixture(scope="module")
def run(crowd, tmp_path_factory):
    """A run of the command line, of one epoch."""
    folder = tmp_path_factory.mktemp("runs")
    assert train_command.main(_arguments(crowd, "--trainer.default_root_dir", str(folder))) == 0
    return folder / "default" / "version_0"


def test_training_leaves_checkpoints_curves_and_metrics(run):
    with (run / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert any(float(row["val_ap50"]) >= 0 for row in rows if row.get("val_ap50"))
    assert any(0 <= float(row["test_rank1"]) <= 1 for row in rows if row.get("test_rank1"))
    assert (run / "figures" / "training.png").stat().st_size < 500_000
    assert (run / "checkpoints" / "last.ckpt").is_file()


def test_detector_reads_the_run_and_answers_in_pixels_of_the_frame(run):
    detector = pretrained.load(run, device="cpu")
    frame = np.random.default_rng(0).integers(0, 255, (120, 180, 3), dtype=np.uint8)
    detector.min_score = 0.0
    found = detector(frame)
    assert found.boxes.shape == (len(found.scores), 4) and found.boxes.dtype == np.float32
    assert (np.diff(found.scores) <= 0).all() and found.centres.shape == (len(found.centre_scores), 2)
    assert np.abs(np.linalg.norm(found.embeddings, axis=1) - 1).max() < 1e-5
    middle = (found.boxes[:, :2] + found.boxes[:, 2:]) / 2
    assert middle.max(0)[0] > 96  # pixels of the frame, not of the network input
    assert detector.occlusion_map(frame).shape == (120, 180)


def test_export_of_a_run_reads_back_equal(run, tmp_path):
    model = load_model(run.parent)  # of several versions, the newest
    model.save_pretrained(tmp_path / "m")
    again = load_model(tmp_path / "m")
    assert again.input_size == SIZE and again.uncertainties == pytest.approx(model.uncertainties)
    assert model.state_dict().keys() == again.state_dict().keys()
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())


def test_a_resumed_run_ends_where_an_unbroken_one_does(crowd, tmp_path):
    def weights(name, *more):
        root = tmp_path / name
        arguments = _arguments(crowd, "--trainer.default_root_dir", str(root), "--model.schedule", "constant")
        arguments += ["--trainer.limit_train_batches", "3", "--trainer.limit_val_batches", "1"]
        arguments += ["--trainer.limit_test_batches", "0"]
        for extra in more:
            assert train_command.main([*arguments, *extra]) == 0
        return torch.load(next(root.glob("*/version_*/checkpoints/last.ckpt")), weights_only=True)["state_dict"]

    unbroken = weights("a", ["--trainer.max_epochs", "2"])
    broken = weights("b", ["--trainer.max_epochs", "1"], ["--trainer.max_epochs", "2", "--resume"])
    assert all(torch.equal(unbroken[name], broken[name]) for name in unbroken)


def test_occlusion_stage_changes_the_occlusion_heads_alone(crowd, run, tmp_path):
    """The published trainOcc: batch statistics stay too."""
    arguments = [
        "--model.init",
        str(run),
        "--model.train_only",
        "occlusion",
        "--trainer.default_root_dir",
        str(tmp_path),
    ]
    assert train_command.main(_arguments(crowd, *arguments, "--trainer.limit_val_batches", "1")) == 0
    before, after = (
        load_model(run).network.state_dict(),
        load_model(tmp_path / "default" / "version_0").network.state_dict(),
    )
    changed = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert "occlusion" in changed <= {"occlusion", "occlusion_offset"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model.backbone", "hrnet"], "model.backbone"),
        (["--model.train_only", "occlusion"], "give it as model.init"),
        (["--model.init", "nowhere.pth"], "nowhere.pth not found"),
        (["--data.root", "nowhere"], "nowhere"),
        (["--data.input_size", "[64,90]"], "multiples of 32"),
        (["--model.learning_rat", "1"], "did you mean"),
    ],
)
def test_a_mistake_ends_in_one_line_and_status_two(crowd, scratch, capsys, arguments, message):
    assert train_command.main([*_arguments(crowd), *arguments]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert message in error


def test_re_id_can_be_left_out(crowd):
    module = TrackingModule("small", 16, SIZE, reid=False)
    assert not any(p.requires_grad for p in module.loss.parameters()) and not module.network.id[0].weight.requires_grad


def test_published_recipes_build(monkeypatch):
    """Every config parses against the modules' arguments."""
    import yaml

    from mot_occlusion.data.datamodule import TrackingDataModule

    monkeypatch.setattr("mot_occlusion.lightning_module.initialise", lambda *arguments: "")
    for path in sorted((PROJECT / "mot_occlusion" / "configs").glob("*.yaml")):
        config = yaml.safe_load(path.read_text())
        config["data"].pop("affine", None)
        data = TrackingDataModule(**config["data"])
        if config["model"]["backbone"] == "small":
            TrackingModule(**config["model"], input_size=data.input_size)
        assert config["name"] == path.stem
