"""estimate_dimension as it is typed."""

import numpy as np
import pytest
from sklearn.datasets import load_digits


@pytest.fixture
def digits(tmp_path):
    np.save(tmp_path / "digits.npy", load_digits().images[:600] / 16)
    return tmp_path / "digits.npy"


def test_dimension_of_digits(capsys, digits, tmp_path, run):
    assert run("estimate_dimension", "--data", digits, "--out", tmp_path / "k.png") == 0
    out = capsys.readouterr().out
    assert "600 samples of 64 entries" in out and "k = " in out and "python conditions.py --n 64" in out
    assert (tmp_path / "k.png").read_bytes()[:4] == b"\x89PNG"
    assert run("estimate_dimension", digits, "--limit", 100) == 0
    assert "100 samples" in capsys.readouterr().out


def test_an_existing_picture_is_replaced_only_on_request(digits, tmp_path, run, fails):
    (tmp_path / "k.png").write_text("a picture")
    fails("k.png exists: replace it with --overwrite", "estimate_dimension", digits, "--out", tmp_path / "k.png")
    assert run("estimate_dimension", digits, "--out", tmp_path / "k.png", "--overwrite") == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--data {nowhere}", "nowhere.npy not found"),
        ("--data {flat}", "a data set is (N, n)"),
        ("--data {few}", "need at least 21"),
        ("--data {few} --neighbours [1]", "at least 2 neighbours"),
    ],
)
def test_bad_data_for_the_dimension(fails, tmp_path, arguments, message):
    np.save(tmp_path / "flat.npy", np.ones(8))
    np.save(tmp_path / "few.npy", np.random.default_rng(0).standard_normal((8, 3)))
    names = {path.stem: str(path) for path in tmp_path.glob("*.npy")} | {"nowhere": str(tmp_path / "nowhere.npy")}
    fails(message, "estimate_dimension", *arguments.format(**names).split())
