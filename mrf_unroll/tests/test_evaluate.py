"""evaluate and claim as they are typed."""

import csv
import json

import numpy as np
import pytest
import torch
from commands import error_of, run

from mrf_unroll import evaluation
from mrf_unroll.data.phantoms import head_phantom
from shared_utils import UserError, work
from shared_utils.claim import Claim

pytestmark = pytest.mark.usefixtures("undrawn")


def test_evaluation_averages_seeds_and_the_claim_is_judged_by_it(trained, tmp_path, capsys):
    methods = "svd_mrf,low_rank,unet,unrolled"
    assert run("evaluate", "--ckpt", f"{trained},{trained}", "--methods", methods, "--out", tmp_path, "--limit", 1) == 0
    assert not (tmp_path / "claim.json").exists()
    assert run("claim", tmp_path) == 0
    assert "The claim does not hold" in capsys.readouterr().out
    claim = json.loads((tmp_path / "claim.json").read_text())
    assert set(claim) == {"claim", "holds", "verdict", "tables", "figures", "seeds"}
    assert claim["holds"] is False  # so short a training is not enough
    assert all((tmp_path / figure["file"]).is_file() for figure in claim["figures"])
    with (tmp_path / "scores.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 2 * 4
    assert run("claim", tmp_path) == 2
    assert "claim.json exists" in error_of(capsys)
    assert run("claim", tmp_path, "--out", tmp_path / "page") == 0
    assert Claim.read(tmp_path / "page") == Claim.read(tmp_path)
    assert run("claim", tmp_path / "page") == 2
    assert "results.json not found" in error_of(capsys)


def test_other_anatomy_and_another_trajectory_are_evaluated_without_retraining(trained, tmp_path):
    t1, t2, density = head_phantom(40, np.random.default_rng(9)).maps
    np.savez(tmp_path / "maps.npz", T1=t1, T2=t2, PD=density, unit_t="s")
    angle = np.linspace(0, 4 * np.pi, 25)
    interleaf = np.stack([np.sin(angle), np.cos(angle)]) * np.linspace(0, 0.49, 25)
    np.savez(tmp_path / "spiral.npz", Coords=interleaf)
    options = ("--data", tmp_path / "maps.npz", "--protocol", f"{{trajectory: {tmp_path / 'spiral.npz'}}}")
    assert run("evaluate", "--ckpt", trained, *options, "--methods", "svd_mrf,unrolled", "--out", tmp_path / "out") == 0
    with (tmp_path / "out" / "methods.csv").open(newline="") as file:
        assert [row["method"] for row in csv.DictReader(file)] == ["zero-filled + DM", "unrolled"]


def test_a_sweep_makes_a_table_and_a_figure(trained, tmp_path):
    arguments = ("--sweep", "samples:20,30", "--methods", "svd_mrf,unrolled", "--limit", 1)
    assert run("evaluate", "--ckpt", trained, *arguments, "--out", tmp_path) == 0
    with (tmp_path / "sweep.csv").open(newline="") as file:
        assert [row["samples"] for row in csv.DictReader(file)] == ["20", "20", "30", "30"]
    assert (tmp_path / "figures" / "sweep.png").stat().st_size > 1000


def test_two_processes_do_between_them_what_one_does(trained, tmp_path, monkeypatch):
    def records(folder, rank, world):
        monkeypatch.setattr(work.distributed, "share", lambda items: items[rank::world])
        study = evaluation.open_study(trained)
        slices = study.data.slices["test"]
        with work.begin(folder, {}, resume=True) as parts:
            try:
                return evaluation.run_study(study, ["svd_mrf", "unrolled"], slices, parts)
            except UserError as error:  # the other one's parts are missing
                assert "not found" in str(error)

    whole = records(tmp_path / "one", 0, 1)
    assert records(tmp_path / "two", 0, 2) is None
    both = records(tmp_path / "two", 0, 1)
    assert len(whole) == len(both) == 4
    for one, other in zip(whole, both, strict=True):
        assert (one.subject, one.method) == (other.subject, other.method) and torch.equal(one.sums, other.sums)
        assert one.consistency == other.consistency


def test_an_interrupted_comparison_is_resumed_and_another_one_is_refused(trained, tmp_path, capsys):
    arguments = ("evaluate", "--ckpt", trained, "--methods", "svd_mrf,unrolled", "--out", tmp_path)
    assert run(*arguments) == 0
    table = (tmp_path / "methods.csv").read_bytes()
    (tmp_path / "parts" / "network_0" / "slice_0001.npz").unlink()
    kept = (tmp_path / "parts" / "network_0" / "slice_0000.npz").stat().st_mtime_ns
    assert run(*arguments) == 2
    assert "--resume" in error_of(capsys)
    assert run(*arguments, "--resume") == 0
    assert (tmp_path / "parts" / "network_0" / "slice_0000.npz").stat().st_mtime_ns == kept
    without_time = lambda text: [row.split(b",")[:9] for row in text.splitlines()]  # noqa: E731
    assert without_time((tmp_path / "methods.csv").read_bytes()) == without_time(table)
    assert run(*arguments, "--noise", 0.02, "--resume") == 2
    assert "another job (noise null, now 0.02)" in error_of(capsys)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--methods", "lrtv,magic"), "no method magic here: there are floor, svd_mrf"),
        (("--protocol", "{schedule: jiang:40}"), "another schedule"),
        (("--protocol", "{smaples: 3}"), "no such option of the protocol: 'smaples'"),
        (("--sweep", "samples"), "as samples:24,32,48"),
        (("--limit", "0"), "limit must be at least 1"),
        (("--noise", "-1"), "noise must not be negative"),
    ],
)
def test_mistakes_in_arguments_of_evaluate_are_named(trained, tmp_path, capsys, arguments, said):
    assert run("evaluate", "--ckpt", trained, "--out", tmp_path / "out", *arguments) == 2
    assert said in error_of(capsys)
