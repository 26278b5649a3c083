import csv

import numpy as np
import pytest
import torch
from conftest import PROJECT

from mot_occlusion import pretrained
from mot_occlusion.commands import train as train_command
from mot_occlusion.data.synthetic_crowd import write_crowd
from mot_occlusion.detector import Detector
from mot_occlusion.lightning_module import TrackingModule
from mot_occlusion.metrics import average_precision, match_boxes, rank1
from mot_occlusion.models.tracking_model import TrackingModel
from mot_occlusion.pretrained import load_model
from shared_utils import UserError

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


def test_embedding_of_a_detected_box_is_the_detections_own(run):
    detector = pretrained.load(run, device="cpu")
    detector.min_score = 0.0
    frame = np.random.default_rng(0).integers(0, 255, (64, 96, 3), dtype=np.uint8)
    found = detector(frame)
    maps, _ = detector.maps(frame)
    # Where left and right, top and bottom distances differ, the box's middle is in another cell than its peak.
    cells = (found.boxes[:, :2] + found.boxes[:, 2:]) / 8
    inside = ((cells >= 0) & (cells < [24, 16])).all(1)
    embeddings = detector.embed(frame, found.boxes[inside])
    x, y = cells[inside].astype(int).T
    expected = torch.nn.functional.normalize(maps["id"][0], dim=0)[:, y, x].T.numpy()
    assert np.abs(embeddings - expected).max() < 1e-5
    assert detector.embed(frame, np.zeros((0, 4))).shape == (0, embeddings.shape[1])


def test_detector_is_deterministic_and_bfloat16_is_close(run):
    frame = np.random.default_rng(0).integers(0, 255, (64, 96, 3), dtype=np.uint8)
    exact, again = (pretrained.load(run, device="cpu").maps(frame)[0] for _ in range(2))
    rough = pretrained.load(run, device="cpu", precision="bf16").maps(frame)[0]
    for name, value in exact.items():
        assert torch.equal(value, again[name])
        assert (value - rough[name].float()).abs().max() < 0.1 * value.abs().max()


def test_detector_refuses_what_is_no_frame(run):
    detector = pretrained.load(run, device="cpu")
    with pytest.raises(UserError, match=r"uint8 RGB, got \(64, 96\)"):
        detector(np.zeros((64, 96), np.uint8))
    with pytest.raises(UserError, match="multiples of 32"):
        pretrained.load(run, input_size=(65, 96))
    with pytest.raises(UserError, match="precision"):
        pretrained.load(run, precision="8")


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
        arguments += ["--trainer.limit_val_batches", "1", "--trainer.limit_test_batches", "0"]
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


def test_rank1_counts_only_people_who_are_there_again():
    query, gallery = torch.eye(4)[:3], torch.eye(4)
    assert rank1(query, torch.tensor([1, 2, 9]), gallery, torch.tensor([1, 7, 3, 2])) == (1, 2)
    assert rank1(query, torch.tensor([5, 6, 9]), gallery, torch.tensor([1, 7, 3, 2])) == (0, 0)


def test_average_precision_of_a_known_ranking():
    verdicts = torch.tensor([1, 0, 1, -1])
    scores = torch.tensor([0.9, 0.8, 0.7, 0.95])
    assert average_precision(scores, verdicts, 2) == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)


def test_each_truth_is_found_once_and_free_ones_do_not_count():
    truth = torch.tensor([[0.0, 0, 10, 10], [20, 20, 30, 30]])
    boxes = torch.tensor([[0.0, 0, 10, 10], [1, 0, 10, 10], [20, 20, 30, 30], [50, 50, 60, 60]])
    assert match_boxes(boxes, truth, torch.tensor([False, True])).tolist() == [1, 0, -1, 0]


def test_model_without_trained_heads_is_refused_by_name():
    model = TrackingModel("small", {"hm": 1, "wh": 4}, SIZE, untrained=["hm"])
    with pytest.raises(UserError, match="no trained detection heads"):
        Detector(model, "cpu")(np.zeros((64, 96, 3), np.uint8))
