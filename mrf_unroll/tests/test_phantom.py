"""Vials with known values."""

import json

import numpy as np
import pytest
import torch
from commands import error_of, run

from mrf_unroll.phantom import compared_vials, read_vials

LINES = ["vial,row,column,radius,T1_ms,T2_ms", "a,4,5,1,1000,80", "b,10,10,2,500,50"]


def test_vials_are_compared_with_their_reference(tmp_path):
    (tmp_path / "vials.csv").write_text("\n".join(LINES))
    vials = read_vials(tmp_path / "vials.csv", (16, 16))
    assert [int(vial.mask.sum()) for vial in vials] == [5, 13] and vials[0].mask[4, 6] and not vials[0].mask[5, 6]
    maps = torch.zeros(3, 16, 16)
    maps[0], maps[1] = 1.1, 0.08
    maps[1, 4, 5] = 0.09
    first, second = compared_vials(maps, vials)
    assert first["T1_bias_percent"] == 10 and first["T2_bias_percent"] == 2.5 and first["T2_sd_ms"] == 4
    assert second["T1_bias_percent"] == 120 and second["T2_reference_ms"] == 50


@pytest.mark.usefixtures("undrawn")
def test_reconstruct_reports_the_vials(scan, tmp_path):
    (tmp_path / "vials.csv").write_text("\n".join(LINES))
    own = ("--method", "low_rank", "--rank", 4, "--grid", "20x20", "--phantom", tmp_path / "vials.csv")
    assert run("reconstruct", scan, "--out", tmp_path / "out", *own) == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    maps = np.load(tmp_path / "out" / "maps.npz")
    assert [row["vial"] for row in report["phantom"]] == ["a", "b"]
    inside = read_vials(tmp_path / "vials.csv", (16, 16))[1].mask
    assert report["phantom"][1]["T1_ms"] == pytest.approx(maps["T1"][inside].mean(), abs=0.01)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["vial,row,column,radius,T1,T2_ms", "a,4,5,1,1000,80"], "no column T1_ms"),
        (LINES[:1], "has no vial"),
        ([LINES[0], "a,4,5,1,1000,many"], "values that are no numbers"),
        ([LINES[0], "a,4,5,1,80,1000"], "T2 must be above 0 and at most T1"),
        ([LINES[0], "a,4,50,1,1000,80"], "no voxel in an image"),
    ],
)
def test_a_file_of_vials_that_cannot_be_right_is_named(lines, said, scan, tmp_path, capsys):
    (tmp_path / "vials.csv").write_text("\n".join(lines))
    own = ("--method", "low_rank", "--phantom", tmp_path / "vials.csv", "--out", tmp_path / "out")
    assert run("reconstruct", scan, *own) == 2
    assert said in error_of(capsys)
