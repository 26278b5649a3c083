"""evaluate.py, simulate.py and visualize.py, through their commands."""

import json

import evaluate as evaluate_command
import numpy as np
import pytest
import simulate as simulate_command
import visualize as visualize_command
from test_evaluation import random_sequence
from test_track_command import SIZE, image_of, scene

from mot_occlusion.detections import Detections
from mot_occlusion.evaluation import evaluate_sequence
from mot_occlusion.io import mot_format


def write_gt(folder, gt, length=40, with_classes=True):
    (folder / "gt").mkdir(parents=True)
    rest = "{},{:.3f}" if with_classes else "-1,-1,-1"
    lines = [
        f"{frame},{identity},{x:.6f},{y:.6f},{w:.6f},{h:.6f},{flag:.0f},{rest.format(label, seen)}\n"
        for frame, identity, (x, y, w, h), flag, label, seen in zip(*gt, strict=True)
    ]
    (folder / "gt" / "gt.txt").write_text("".join(lines))
    (folder / "seqinfo.ini").write_text(
        f"[Sequence]\nname={folder.name}\nframeRate=25\nseqLength={length}\nimWidth=400\nimHeight=400\n"
    )


@pytest.fixture
def benchmark(scratch):
    """Two sequences of MOT17 with their results, as people have them."""
    for number in (2, 4):
        gt, results = random_sequence(number, with_classes=True)
        write_gt(scratch / "MOT17" / "train" / f"MOT17-0{number}-SDP", gt)
        mot_format.write_rows(results, scratch / "results" / f"MOT17-0{number}-SDP.txt")
    return scratch


def run(*arguments):
    return evaluate_command.main(["--gt", "MOT17", "--results", "results", *arguments])


def test_scores_of_a_benchmark(benchmark, capsys):
    assert run("--out", "scores") == 0
    printed = capsys.readouterr().out
    assert "MOT17-02-SDP" in printed and "COMBINED" in printed
    found = json.loads((benchmark / "scores" / "scores.json").read_text())
    gt = mot_format.read_gt("MOT17/train/MOT17-02-SDP/gt/gt.txt")
    expected = evaluate_sequence(gt, mot_format.read_results("results/MOT17-02-SDP.txt"), 40, "mot17")
    for name in ("HOTA", "MOTA", "IDF1", "IDSW", "CLR_FN"):
        assert found["MOT17-02-SDP"][name] == pytest.approx(expected[name], abs=1e-12)
    assert len(found["COMBINED"]["curves"]["HOTA"]) == 19
    assert (benchmark / "scores" / "scores.csv").read_text().count("\n") == 4
    assert 0 < (benchmark / "scores" / "hota.png").stat().st_size < 200_000


def test_evaluation_needs_no_torch(benchmark, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "torch", None)  # importing it would fail
    assert run() == 0


def test_halves_are_evaluated_as_sequences_of_their_own(benchmark, capsys):
    assert run("--split", "second-half", "--metrics", "clear", "--out", "scores") == 0
    found = json.loads((benchmark / "scores" / "scores.json").read_text())["MOT17-02-SDP"]
    gt = mot_format.read_gt("MOT17/train/MOT17-02-SDP/gt/gt.txt")
    kept = (gt.frames > 20) & (gt.classes == 1) & (gt.scores == 1)
    assert found["CLR_TP"] + found["CLR_FN"] == kept.sum() and found["CLR_Frames"] == 20
    assert "HOTA" not in found


@pytest.mark.parametrize("convention", ["motmetrics", "published"])
def test_other_conventions_by_their_names(benchmark, capsys, convention):
    assert run("--convention", convention) == 0
    assert "mostly_tracked" in capsys.readouterr().out


def test_one_file_and_one_sequence(benchmark):
    folder = "MOT17/train/MOT17-04-SDP"
    assert evaluate_command.main(["--gt", folder, "--results", "results/MOT17-04-SDP.txt"]) == 0


def remove_gt(root):
    (root / "MOT17" / "train" / "MOT17-02-SDP" / "gt" / "gt.txt").write_text("")


def longer(root):
    with (root / "results" / "MOT17-02-SDP.txt").open("a") as stream:
        stream.write("90,1,1,1,5,5,1,-1,-1,-1\n")


def repeated(root):
    path = root / "results" / "MOT17-02-SDP.txt"
    path.write_text(path.read_text() + path.read_text().splitlines()[0] + "\n")


@pytest.mark.parametrize(
    ("spoil", "arguments", "message"),
    [
        (
            lambda root: (root / "results" / "MOT17-04-SDP.txt").unlink(),
            [],
            "no results for MOT17-04-SDP in results: track",
        ),
        (
            lambda root: (root / "results" / "other.txt").write_text(""),
            [],
            "results/other.txt: no sequence other in MOT17",
        ),
        (remove_gt, [], "MOT17-02-SDP/gt/gt.txt is empty"),
        (longer, [], "MOT17-02-SDP.txt: results has frame 90, but the sequence has 40: the lengths disagree"),
        (longer, ["--split", "second-half"], "results has frame 90, but MOT17-02-SDP has 40 frames"),
        (repeated, [], "stands twice in frame 1"),
        (lambda root: None, ["--metrics", "vace"], "metrics are clear, id and hota"),
        (lambda root: None, ["--results", "nowhere"], "nowhere not found: give a folder of <sequence>.txt files"),
        (lambda root: None, ["--gt", "results"], "no sequence in results: expected <root>"),
        (
            lambda root: (root / "MOT17/train/MOT17-02-SDP/gt/gt.txt").write_text("1,1,2,3,4\n"),
            [],
            "gt.txt, line 1: 5 columns",
        ),
    ],
)
def test_wrong_input_is_said_in_one_line(benchmark, capsys, spoil, arguments, message):
    spoil(benchmark)
    assert run("--out", "scores", *arguments) == 2
    assert message in capsys.readouterr().err
    assert not (benchmark / "scores").exists()


def test_missing_sequences_can_be_left_out(benchmark, capsys):
    (benchmark / "results" / "MOT17-04-SDP.txt").unlink()
    assert run("--allow_missing") == 0
    assert "COMBINED" not in capsys.readouterr().out


# Simulation ----------------------------------------------------------------------------------------------------------


def test_simulation_on_ground_truth(scratch, capsys):
    gt, _ = random_sequence(5, people=12)
    rng = np.random.default_rng(0)
    write_gt(scratch / "MOT17-90", gt._replace(visibility=rng.choice([0.2, 1.0], len(gt.ids))))
    arguments = ["--gt", "MOT17-90", "--seeds", "0,1", "--windows", "1,5", "--out", "a"]
    assert simulate_command.main(arguments) == 0
    printed = capsys.readouterr().out
    assert "IoU only, fair" in printed and "+ occlusion, window 5" in printed
    rows = json.loads((scratch / "a" / "simulation.json").read_text())
    assert {row["seed"] for row in rows} == {0, 1} and len(rows) == 2 * 7
    assert {row["window"] for row in rows} == {None, 0, 1, 5}
    assert 0 < (scratch / "a" / "windows.png").stat().st_size < 200_000
    parts = {path: path.stat().st_mtime_ns for path in (scratch / "a" / "parts").iterdir()}
    assert simulate_command.main([*arguments, "--resume"]) == 0
    assert parts == {path: path.stat().st_mtime_ns for path in (scratch / "a" / "parts").iterdir()}


def test_simulation_needs_visibility_and_known_names(scratch, capsys):
    write_gt(scratch / "MOT15-1", random_sequence(5)[0], with_classes=False)
    assert simulate_command.main(["--gt", "MOT15-1", "--out", "a"]) == 2
    assert "has no visibility (column 9)" in capsys.readouterr().err
    assert simulate_command.main(["--gt", "MOT15-1", "--sequences", "other", "--out", "a"]) == 2
    assert "no sequence other in MOT15-1: there are MOT15-1" in capsys.readouterr().err
    assert simulate_command.main(["--gt", "MOT15-1", "--seeds", "a", "--out", "a"]) == 2
    assert "seeds and windows are whole numbers" in capsys.readouterr().err


def test_real_trajectories_keep_their_order(real_data, scratch):
    """Section 5 of the paper in kind: re-ID helps identity, recovery finds who is hidden, on one real sequence."""
    sequence = real_data / "MOT17" / "train" / "MOT17-09-FRCNN"
    assert simulate_command.main(["--gt", str(sequence), "--seeds", "0", "--windows", "1,30", "--out", "a"]) == 0
    rows = {row["arm"]: row for row in json.loads((scratch / "a" / "simulation.json").read_text())}
    assert rows["IoU only, published"]["HOTA"] < rows["IoU only, fair"]["HOTA"] < rows["+ re-ID"]["HOTA"]
    assert rows["+ occlusion, window 30"]["MOTA"] > rows["+ re-ID"]["MOTA"] + 0.04
    assert (
        rows["+ occlusion, window 30"]["CLR_FN"] < rows["+ occlusion, window 1"]["CLR_FN"] < rows["+ re-ID"]["CLR_FN"]
    )


# Figures -------------------------------------------------------------------------------------------------------------


class FakeDetector:
    @classmethod
    def load(cls, checkpoint=None, device="auto"):
        return cls()

    def __call__(self, image):
        boxes = np.array(scene(5))
        boxes[:, 2:] += boxes[:, :2]
        return Detections(boxes, np.array([0.9, 0.8]), np.eye(2, 8), np.array([[60.0, 40.0]]), np.ones(1))

    def embed(self, image, boxes):
        return np.eye(8)[: len(boxes)]

    def occlusion_map(self, image):
        return np.linspace(0, 1, image.shape[0] * image.shape[1]).reshape(image.shape[:2])


@pytest.fixture
def clip(scratch, monkeypatch):
    import cv2

    import mot_occlusion.detector

    monkeypatch.setattr(mot_occlusion.detector, "Detector", FakeDetector)
    (scratch / "clip").mkdir()
    for frame in range(1, 13):
        cv2.imwrite(str(scratch / "clip" / f"{frame}.png"), image_of(frame))
    lines = [
        f"{frame},{i},{x},{y},{w},{h},1\n" for frame in range(1, 13) for i, (x, y, w, h) in enumerate(scene(frame), 1)
    ]
    (scratch / "clip.txt").write_text("".join(lines))
    return scratch


@pytest.mark.parametrize(
    "arguments",
    [
        ["trajectories", "--results", "clip.txt", "--source", "clip"],
        ["trajectories", "--results", "clip.txt"],
        ["timeline", "--results", "clip.txt"],
        ["frames", "--source", "clip", "--frame", "1", "--second", "9"],
        ["occlusion", "--source", "clip", "--frame", "3"],
        ["similarity", "--source", "clip", "--frame", "1"],
        ["similarity", "--source", "clip", "--frame", "1", "--second", "4", "--detections", "clip.txt"],
    ],
)
def test_figures_are_drawn(clip, arguments):
    from PIL import Image

    assert visualize_command.main([*arguments, "--out", "figures/a.png"]) == 0
    with Image.open("figures/a.png") as image:
        assert min(image.size) > 200 and len(image.convert("RGB").getcolors(100_000)) > 8
    assert (clip / "figures" / "a.png").stat().st_size < 200_000


def test_hota_curves_of_several_trackers(benchmark):
    arguments = ["hota", "--gt", "MOT17", "--results", "ours=results,again=results", "--out", "hota.png"]
    assert visualize_command.main(arguments) == 0
    assert (benchmark / "hota.png").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["timeline"], "timeline needs --results"),
        (["occlusion"], "occlusion needs --source"),
        (["hota", "--results", "clip.txt"], "hota needs --gt"),
        (
            ["occlusion", "--source", "clip", "--frame", "99"],
            "clip has no readable frame 99: choose another with --frame",
        ),
        (["timeline", "--results", "empty.txt"], "empty.txt has no boxes: there is nothing to draw"),
        (["painting", "--results", "clip.txt"], "painting"),
    ],
)
def test_figures_that_cannot_be_drawn(clip, capsys, arguments, message):
    (clip / "empty.txt").write_text("")
    assert visualize_command.main([*arguments, "--out", "a.png"]) == 2
    assert message in capsys.readouterr().err
    assert not (clip / "a.png").exists()


def test_scene_fits_its_image():
    assert max(box[0] for box in scene(12)) < SIZE[1]


@pytest.mark.parametrize("command", [evaluate_command, simulate_command, visualize_command])
def test_help_answers(command, capsys):
    assert command.main(["--help"]) == 0
    assert "--results" in capsys.readouterr().out or command is simulate_command
