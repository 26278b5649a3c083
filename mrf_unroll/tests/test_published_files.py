"""The data files of the published code."""

from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from mrf_unroll.data.published_files import read_pgdnet_data, read_pgdnet_subspace
from shared_utils import UserError

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "mrf_unroll"


def test_the_published_training_file(scratch):
    rng = np.random.default_rng(0)
    content = {
        "X": rng.normal(size=(2, 5, 5, 4)),
        "y_s_real": rng.normal(size=(2, 6)),
        "y_s_imag": rng.normal(size=(2, 6)),
        "MRF_maps": rng.uniform(size=(2, 5, 5, 3)),
        "samplemask_s": np.array([[1, 4, 9, 11, 20, 25]]),
    }
    savemat("train.mat", content)
    data = read_pgdnet_data("train.mat")
    assert data.tsmi.shape == (2, 4, 5, 5) and data.maps.shape == (2, 3, 5, 5)
    assert data.mask.tolist() == [0, 3, 8, 10, 19, 24] and data.kspace.dtype == np.complex64
    assert data.maps[1, 2, 3, 4] == pytest.approx(content["MRF_maps"][1, 3, 4, 2], rel=1e-6)
    for name, value, message in [
        ("samplemask_s", content["samplemask_s"] - 1, "count from 1"),
        ("y_s_imag", content["y_s_imag"] + np.nan, None),
        ("X", content["X"][:1], r"must be \(n, H, W, s\)"),
        ("samplemask_s", content["samplemask_s"][:, :5], "does not fit 2 slices and 5 samples"),
    ]:
        if message:
            savemat("bad.mat", {**content, name: value})
            with pytest.raises(UserError, match=message):
                read_pgdnet_data("bad.mat")
    with pytest.raises(UserError, match="no entry X"):
        savemat("other.mat", {"a": 1})
        read_pgdnet_data("other.mat")


def test_the_published_subspace(scratch):
    basis = np.linalg.qr(np.random.default_rng(0).normal(size=(9, 3)))[0]
    savemat("a.mat", {"V": basis, "V_conj": basis.T})
    savemat("b.mat", {"dict": {"V": basis, "lut": np.ones((4, 2))}})
    assert np.allclose(read_pgdnet_subspace("a.mat"), basis) and np.allclose(read_pgdnet_subspace("b.mat"), basis)
    savemat("c.mat", {"V": basis.T})
    with pytest.raises(UserError, match="expected"):
        read_pgdnet_subspace("c.mat")
    savemat("d.mat", {"W": basis})
    with pytest.raises(UserError, match="has no subspace V"):
        read_pgdnet_subspace("d.mat")


@pytest.mark.skipif(not DATA.is_dir(), reason="the shared data folder is not here")
def test_the_released_subspace_is_read():
    assert read_pgdnet_subspace(DATA / "MRFResnet_AE.mat").shape == (880, 10)
