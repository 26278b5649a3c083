"""The transmit field in the reconstruction."""

import numpy as np
import pytest
import torch
from commands import error_of, run

from mrf_unroll.data.maps import write_maps
from mrf_unroll.dictionary import Dictionary, log_grid
from mrf_unroll.methods import match_maps, match_with_b1
from mrf_unroll.schedules import read_schedule
from mrf_unroll.simulation import tsmi


@pytest.fixture(scope="module")
def sequence():
    return read_schedule("jiang:60")


def test_matching_with_the_field_finds_what_matching_without_it_misses(sequence):
    field = torch.linspace(0.8, 1.2, 30).reshape(5, 6)
    maps = torch.stack([torch.full_like(field, value) for value in (1.2, 0.09, 0.7)])[None]
    dictionary = Dictionary.build(sequence, log_grid(60, 60, (200, 3000), (20, 400)), 6, b1=(0.8, 0.9, 1.0, 1.1, 1.2))
    series = tsmi(maps, sequence, torch.as_tensor(dictionary.basis), b1=field[None])
    found, blind = match_with_b1(dictionary, series, field), match_maps(dictionary, series)
    error, blind_error = ((one / maps - 1).abs().amax(dim=(0, 2, 3)) for one in (found, blind))
    # A step of the grid is 4.7 % of T1 and 5.2 % of T2, and fields are told apart to 2 %.
    assert (error < torch.tensor([0.05, 0.055, 0.03])).all()
    assert blind_error[1] > 0.15 > 4 * error[1]


def test_a_field_of_one_changes_nothing(sequence):
    dictionary = Dictionary.build(sequence, log_grid(20, 20), 4)
    assert torch.allclose(dictionary.at_b1(1.0).atoms, dictionary.atoms, atol=1e-5)


@pytest.fixture
def field(tmp_path, monkeypatch):
    """maps.npz with a field of 0.8 to 1.2 over the image, and scan.npz of them."""
    monkeypatch.chdir(tmp_path)
    row = np.linspace(0.8, 1.2, 16)
    ones = np.ones((16, 16))
    ones[0] = 0
    write_maps("maps.npz", 1200 * ones, 90 * ones, 0.7 * ones, ones > 0, b1=np.broadcast_to(row, (16, 16)))
    shape = ("--schedule", "jiang:60", "--samples", 200, "--turns", 8)
    assert run("simulate", "maps.npz", "--use_b1", "true", "--out", "scan.npz", "--noise", 0.001, *shape) == 0
    return tmp_path


@pytest.mark.usefixtures("undrawn")
def test_reconstruct_takes_the_field_of_the_simulation(field):
    errors = []
    for name, own in (("blind", ()), ("with", ("--b1", "scan_maps.npz"))):
        arguments = ("--method", "low_rank", "--rank", 6, "--grid", "60x60", "--out", name, *own)
        assert run("reconstruct", "scan.npz", *arguments) == 0
        maps = np.load(f"{name}/maps.npz")
        inside = np.s_[2:, :]
        errors.append(np.abs(maps["T2"][inside] / 90 - 1).mean())
    assert errors[1] < 0.08 and errors[0] > 1.5 * errors[1]


def test_where_a_field_is_of_no_use_it_is_refused(field, capsys):
    write_maps("other.npz", *[np.ones((8, 8))] * 3, b1=np.ones((8, 8)))
    np.savez("degrees.npz", B1=np.full((16, 16), 30.0))
    low_rank = ("--method", "low_rank", "--out", "out")
    assert run("reconstruct", "scan.npz", *low_rank, "--b1", "other.npz") == 2
    assert "they must agree" in error_of(capsys)
    assert run("reconstruct", "scan.npz", *low_rank, "--b1", "degrees.npz") == 2
    assert "relative to the nominal flip angle" in error_of(capsys)
    assert run("reconstruct", "scan.npz", *low_rank, "--b1", "scan.npz") == 2
    assert "no entry B1" in error_of(capsys)
    assert run("dictionary", "jiang:60", "--ti", 18, "--rank", 6, "--grid", "20x20", "--out", "dict.npz") == 0
    assert run("reconstruct", "scan.npz", *low_rank, "--b1", "scan_maps.npz", "--dictionary", "dict.npz") == 2
    assert "without --dictionary" in error_of(capsys)
