"""Pickles of plain values are read, and nothing that a file names is imported or run."""

import io
import pickle

import numpy as np
import pytest

from shared_utils import UserError, plain_pickle


class Harmful:
    def __reduce__(self):
        return eval, ("open('ran', 'w')",)


def test_arrays_and_builtin_types_come_back(tmp_path):
    content = {"a": np.arange(6.0).reshape(2, 3), "b": [1, "two", (3, None)]}
    (tmp_path / "plain.pkl").write_bytes(pickle.dumps(content))
    found = plain_pickle.read(tmp_path / "plain.pkl")
    assert (found["a"] == content["a"]).all() and found["b"] == content["b"]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_what_it_names_is_not_run(tmp_path, monkeypatch, protocol):
    monkeypatch.chdir(tmp_path)
    harmful = pickle.dumps(Harmful(), protocol)
    with pytest.raises(ValueError, match="eval.*nothing in a file is executed"):
        plain_pickle.load(io.BytesIO(harmful))
    (tmp_path / "harmful.pkl").write_bytes(harmful)
    with pytest.raises(UserError, match=r"harmful.pkl is not a pickle of plain values.*eval"):
        plain_pickle.read(tmp_path / "harmful.pkl")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [b"", b"text", pickle.dumps([1, 2, 3])[:-3], b"\x80\x04garbage"])
def test_damaged_files_are_named(tmp_path, content):
    (tmp_path / "damaged.pkl").write_bytes(content)
    with pytest.raises(UserError, match=r"damaged.pkl is "):
        plain_pickle.read(tmp_path / "damaged.pkl")
    with pytest.raises(UserError, match="not found"):
        plain_pickle.read(tmp_path / "nowhere.pkl")
