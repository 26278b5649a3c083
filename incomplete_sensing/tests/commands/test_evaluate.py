"""evaluate as it is typed."""

import csv
import shutil

import numpy as np


def test_evaluation_reports_seen_and_unseen_operators_apart(trained, tmp_path, capsys, run):
    assert run("evaluate", "--ckpt", trained, "--out", tmp_path) == 0
    printed = capsys.readouterr().out
    assert "seen" in printed and "unseen" in printed and "residual" in printed
    with (tmp_path / "scores.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["operators"] for row in rows] == ["seen"] * 40 + ["unseen"] * 40
    assert all(float(row["psnr"]) > 0 for row in rows)
    assert (tmp_path / "panels.png").stat().st_size > 1000


def test_without_a_checkpoint_the_bundled_model_is_evaluated(tmp_path, capsys, run):
    assert run("evaluate", "--limit", 30, "--unseen", 3, "--out", tmp_path / "out") == 0
    assert "wrote" in capsys.readouterr().out
    with (tmp_path / "out" / "scores.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 60
    for kind in ("seen", "unseen"):  # it solves with the operators themselves, so others are as good
        gain = [float(row["psnr"]) - float(row["psnr_start"]) for row in rows if row["operators"] == kind]
        assert len(gain) == 30 and np.mean(gain) > 11


def test_what_is_evaluated_already_is_refused_continued_or_replaced(trained, tmp_path, run, fails):
    arguments = ("--ckpt", trained, "--unseen", 0, "--batch-size", 7, "--out", tmp_path / "out")
    assert run("evaluate", *arguments) == 0
    scores = (tmp_path / "out" / "scores.csv").read_text()
    fails("exists: continue it with --resume, replace it with --overwrite", "evaluate", *arguments)
    assert run("evaluate", *arguments, "--resume") == 0
    assert (tmp_path / "out" / "scores.csv").read_text() == scores
    fails("begun as another job (data", "evaluate", *arguments, "--resume", "--limit", 9)
    assert run("evaluate", *arguments, "--overwrite", "--limit", 9) == 0
    assert len((tmp_path / "out" / "scores.csv").read_text().splitlines()) == 10


def test_by_default_results_are_written_beside_the_checkpoint(trained, tmp_path, run):
    copy = tmp_path / "run"
    shutil.copytree(trained, copy)
    assert run("evaluate", "--ckpt", copy, "--unseen", 0, "--limit", 5) == 0
    assert (copy / "evaluation" / "scores.csv").is_file()


def test_scores_do_not_depend_on_the_number_of_processes(trained, tmp_path, run, two_processes):
    arguments = ("--ckpt", trained, "--device", "cpu", "--batch_size", 7, "--unseen", 0, "--out")
    two_processes("evaluate.py", *arguments, tmp_path / "two")
    assert run("evaluate", *arguments, tmp_path / "one") == 0
    assert (tmp_path / "one" / "scores.csv").read_text() == (tmp_path / "two" / "scores.csv").read_text()


def test_verbs_that_do_not_train_leave_lightning_alone(trained, tmp_path, processes):
    code = (
        "import sys; from incomplete_sensing.commands import evaluate; status = evaluate.main(sys.argv[1:])\n"
        "heavy = [name for name in ('pytorch_lightning', 'torchmetrics', 'torchvision') if name in sys.modules]\n"
        "assert status == 0 and not heavy, heavy"
    )
    done = processes.start(code, "--ckpt", trained, "--out", tmp_path, "--limit", 20)
    done.join()
    assert done.exitcode == 0, processes.printed(done)


def test_missing_and_foreign_checkpoints_are_named(tmp_path, fails):
    (tmp_path / "other.ckpt").write_bytes(b"nothing")
    (tmp_path / "empty").mkdir()
    fails("no good checkpoint in", "evaluate", "--ckpt", tmp_path / "empty")
    fails("other.ckpt", "evaluate", "--ckpt", tmp_path / "other.ckpt")
