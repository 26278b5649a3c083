"""Maps that come in are checked: units, shapes, values that are not finite; what goes out comes back."""

import logging
from pathlib import Path

import h5py
import numpy as np
import pytest
from scipy.io import savemat

from mrf_unroll.data.maps import read_maps, write_maps
from shared_utils import UserError

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "mrf_unroll"


def maps(**others):
    base = {"T1": np.full((6, 7), 900.0), "T2": np.full((6, 7), 80.0), "PD": np.ones((6, 7)), "unit_t": "ms"}
    base["T1"][0], base["T2"][0], base["PD"][0] = 0, 0, 0
    base.update(others)
    return {name: value for name, value in base.items() if value is not None}


def test_milliseconds_and_seconds_come_in_alike(scratch):
    np.savez("ms.npz", **maps())
    np.savez("s.npz", **maps(T1=maps()["T1"] / 1000, T2=maps()["T2"] / 1000, unit_t="s"))
    savemat("undeclared.mat", maps(unit_t=None))
    for one in (read_maps("ms.npz"), read_maps("s.npz"), read_maps("undeclared.mat", "ms")):
        assert one.t1_s.shape == (1, 6, 7) and one.mask.sum() == 35
        assert (
            one.t1_s.max() == pytest.approx(0.9) and one.t2_s.max() == pytest.approx(0.08) and one.t1_s[0, 0].max() == 0
        )


def test_a_unit_is_never_guessed(scratch):
    np.savez("a.npz", **maps(unit_t=None))
    np.savez("b.npz", **maps(unit_t="s"))
    np.savez("c.npz", **maps(T1=maps()["T1"] / 1000, T2=maps()["T2"] / 1000))
    np.savez("d.npz", **maps(unit_t="min"))
    for name, message in [
        ("a.npz", "a.npz: the unit of T1 and T2 is not declared: give --unit_t"),
        ("b.npz", "median T1 is 900 s, which looks like ms"),
        ("c.npz", "median T1 is 0.9 ms, which looks like s"),
        ("d.npz", "must be ms or s"),
    ]:
        with pytest.raises(UserError, match=message):
            read_maps(name)


def test_values_that_are_not_finite_are_outside_and_counted(scratch, caplog):
    content = maps(mask=np.ones((6, 7)))
    content["T1"][2, 3] = np.nan
    np.savez("a.npz", **content)
    with caplog.at_level(logging.WARNING):
        one = read_maps("a.npz")
    assert one.mask.sum() == 34 and np.isfinite(one.t1_s).all()
    assert "8 voxels of the mask" in caplog.text


def test_other_layouts_of_maps(scratch):
    stack = np.stack([maps()["T1"], maps()["T2"], maps()["PD"]])
    savemat("qmap.mat", {"qmap": np.stack([stack, stack])})
    assert read_maps("qmap.mat", "ms").t1_s.shape == (2, 6, 7)
    savemat("matlab.mat", {"qmap": np.stack([stack] * 4, axis=-1).transpose(1, 2, 0, 3)})
    with h5py.File("v73.mat", "w") as file:
        file["qmap"] = stack[None].T
    assert read_maps("v73.mat", "ms").t2_s.max() == pytest.approx(0.08)
    savemat("lrtv.mat", {"T1_GT": stack[0] / 1000, "T2_GT": stack[1] / 1000, "PD_GT": stack[2]})
    assert read_maps("lrtv.mat", "s").t1_s.max() == pytest.approx(0.9)
    seconds = np.stack([stack[0] / 1000, stack[1] / 1000, stack[2]], axis=-1)[None]
    savemat("pgdnet.mat", {"MRF_maps": seconds})
    assert read_maps("pgdnet.mat").pd.max() == 1
    np.savez("complex.npz", **maps(PD=maps()["PD"] * np.exp(0.5j)))
    one = read_maps("complex.npz")
    assert one.pd.max() == pytest.approx(1) and one.phase[0, 3, 3] == pytest.approx(0.5)


def test_maps_that_do_not_fit_are_named(scratch):
    np.savez("a.npz", **maps(T2=np.ones((6, 8))))
    np.savez("b.npz", **maps(PD=None))
    np.savez("c.npz", **maps(mask=np.zeros((6, 7))))
    np.savez("d.npz", **maps(PD=np.zeros((6, 7))))
    np.savez("e.npz", **maps(T1=np.ones((1, 1, 6, 7))))
    for name, message in [
        ("a.npz", r"T2 has shape \(1, 6, 8\), T1 \(1, 6, 7\)"),
        ("b.npz", "has no entry PD"),
        ("c.npz", "the mask has no voxel"),
        ("d.npz", "no voxel has finite, positive"),
        ("e.npz", r"expected \(H, W\) or \(slices, H, W\)"),
    ]:
        with pytest.raises(UserError, match=message):
            read_maps(name)


def test_written_maps_are_read_back(scratch):
    write_maps("out.npz", maps()["T1"], maps()["T2"], maps()["PD"])
    assert read_maps("out.npz").t1_s.max() == pytest.approx(0.9)


@pytest.mark.skipif(not DATA.is_dir(), reason="the shared data folder is not here")
def test_real_maps_load():
    reference = read_maps(DATA / "reference_map.npz", "ms")
    assert (
        reference.mask.sum() == 27709
        and reference.t1_s.max() == pytest.approx(5)
        and reference.phase.shape == (1, 224, 224)
    )
    brain = read_maps(DATA / "numerical_brain_cropped.mat")
    assert brain.mask.sum() > 10000 and 3 < brain.t1_s.max() < 6 and brain.b1.shape == (1, 141, 161)
    with pytest.raises(UserError, match="not declared"):
        read_maps(DATA / "reference_map.npz")
