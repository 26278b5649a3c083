"""Containers of arrays: what is not one is named."""

from pathlib import Path

import numpy as np
import pytest

from mrf_unroll.arrays import load_arrays
from shared_utils import UserError


def test_files_of_another_kind_are_named(scratch):
    Path("empty.npz").touch()
    Path("text.npz").write_text("hello" * 200)
    np.savez("objects.npz", a=np.array([{}], dtype=object))
    np.savez("whole.npz", a=np.zeros(1000))
    Path("cut.npz").write_bytes(Path("whole.npz").read_bytes()[:-300])
    Path("words.mat").write_text("hello" * 200)
    Path("folder").mkdir()
    for name, message in [
        ("none.npz", "not found"),
        ("empty.npz", "is empty"),
        ("text.npz", "not an .npz, .mat or HDF5 file"),
        ("objects.npz", "Python objects, which are never read"),
        ("cut.npz", "is damaged"),
        ("words.mat", "words.mat is (damaged|not a MATLAB file)"),
        ("folder", "is a folder"),
    ]:
        with pytest.raises(UserError, match=message):
            load_arrays(name)
