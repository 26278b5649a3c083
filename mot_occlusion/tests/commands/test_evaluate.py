"""evaluate.py, through its command."""

import json

import pytest

from mot_occlusion.commands import evaluate as evaluate_command
from mot_occlusion.data import mot_format
from mot_occlusion.evaluation import evaluate_sequence


def run(*arguments):
    return evaluate_command.main(["--data", "MOT17", "--results", "results", *arguments])


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
    assert (benchmark / "scores" / "scores.csv").read_text().count("\n") == 4 and (
        benchmark / "scores" / "scores.md"
    ).is_file()
    assert 0 < (benchmark / "scores" / "hota.png").stat().st_size < 500_000


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
    assert evaluate_command.main(["--data", folder, "--results", "results/MOT17-04-SDP.txt"]) == 0


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
        (lambda root: None, ["--data", "results"], "no sequence in results: expected <root>"),
        (
            lambda root: (root / "MOT17/train/MOT17-02-SDP/gt/gt.txt").write_text("1,1,2,3,4\n"),
            [],
            "gt.txt, line 1: 5 columns",
        ),
    ],
)
def test_wrong_input_is_answered_in_one_line(benchmark, capsys, spoil, arguments, message):
    spoil(benchmark)
    assert run("--out", "scores", *arguments) == 2
    assert message in capsys.readouterr().err
    assert not (benchmark / "scores").exists()


def test_missing_sequences_can_be_left_out(benchmark, capsys):
    (benchmark / "results" / "MOT17-04-SDP.txt").unlink()
    assert run("--allow_missing") == 0
    assert "COMBINED" not in capsys.readouterr().out


def test_scores_that_exist_are_replaced_only_when_asked_for(benchmark, capsys):
    assert run("--out", "scores") == 0
    assert run("--out", "scores") == 2
    assert "scores exists: replace it with --overwrite, or name another --out" in capsys.readouterr().err
    assert run("--out", "scores", "--overwrite") == 0
