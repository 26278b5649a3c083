"""What comes in is checked: units, shapes, radians, values that are not finite; what goes out comes back."""

import logging
from pathlib import Path

import h5py
import numpy as np
import pytest
from scipy.io import savemat

from mrf_unroll import files
from mrf_unroll.files import Scan, load_arrays, read_maps, read_pgdnet_data, read_pgdnet_subspace, read_scan, write_scan
from mrf_unroll.schedules import Sequence, jiang_like_fa
from shared_utils import UserError

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "mrf_unroll"


def maps(**others):
    base = {"T1": np.full((6, 7), 900.0), "T2": np.full((6, 7), 80.0), "PD": np.ones((6, 7)), "unit_t": "ms"}
    base["T1"][0], base["T2"][0], base["PD"][0] = 0, 0, 0
    base.update(others)
    return {name: value for name, value in base.items() if value is not None}


@pytest.fixture
def scan():
    rng = np.random.default_rng(0)
    csm = np.exp(1j * rng.uniform(0, 6, (2, 8, 9))) / np.sqrt(2)
    return Scan(
        (rng.normal(size=(2, 5, 11)) + 1j).astype(np.complex64),
        rng.uniform(-0.5, 0.5, (5, 11, 2)).astype(np.float32),
        (8, 9),
        Sequence.of(jiang_like_fa(5)),
        csm.astype(np.complex64),
        rng.uniform(0, 1, (5, 11)).astype(np.float32),
        0.25,
    )


# Maps -------------------------------------------------------------------------------------------------------------------


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
    files.write_maps("out.npz", maps()["T1"], maps()["T2"], maps()["PD"])
    assert read_maps("out.npz").t1_s.max() == pytest.approx(0.9)


# Scans ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["scan.npz", "scan.h5"])
def test_a_scan_comes_back(scan, scratch, name):
    write_scan(name, scan)
    again = read_scan(name)
    for field in ("kspace", "trajectory", "coil_maps", "dcf"):
        assert np.array_equal(getattr(again, field), getattr(scan, field)), field
    assert again.image_size == (8, 9) and again.noise_std == 0.25 and again.sequence.hash == scan.sequence.hash
    assert list(Path().iterdir()) == [Path(name)]


def test_what_a_scan_may_lack(scan, scratch):
    write_scan("full.npz", scan)
    content = dict(np.load("full.npz"))
    for name in ("csm", "dcf", "noise_std", "phase_deg", "ti_ms", "sequence_sha256", "inversion_efficiency"):
        content.pop(name)
    content["kspace"], content["tr_ms"], content["image_size"] = content["kspace"][0], 12.0, 8
    np.savez("bare.npz", **content)
    bare = read_scan("bare.npz")
    assert bare.kspace.shape == (1, 5, 11) and bare.coil_maps is None and bare.dcf is None
    assert bare.sequence.ti_ms is None and bare.image_size == (8, 8)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kspace": None}, "no entry kspace"),
        ({"fa_deg": None}, "no entry fa_deg"),
        ({"traj": lambda v: v[:, :10]}, r"kspace \(2, 5, 11\) and traj \(5, 10, 2\) disagree"),
        ({"traj": lambda v: v * 6.283}, "looks like radians, divide traj by 2 pi"),
        ({"traj": lambda v: v * 100}, "divide traj by the image size"),
        ({"traj": lambda v: v * np.nan}, "traj has values that are not finite"),
        ({"traj": lambda v: v[..., 0]}, r"expected \(frames, samples, 2\)"),
        ({"fa_deg": lambda v: v[:4]}, "lengths differ: 4 flip angles, 5 of tr_ms"),
        ({"te_ms": lambda v: v + 20}, "TE is longer than TR"),
        ({"kspace": lambda v: v.real}, "kspace is not complex"),
        ({"kspace": lambda v: v * np.nan}, "110 samples of kspace are not finite"),
        ({"csm": lambda v: v[:1]}, r"csm \(1, 8, 9\) does not fit 2 coils"),
        ({"csm": lambda v: v * np.nan}, "csm has values that are not finite"),
        ({"dcf": lambda v: -v}, "weights that are negative"),
        ({"dcf": lambda v: v[:2]}, r"dcf \(2, 11\) does not fit"),
        ({"image_size": lambda v: np.array([0, 9])}, "at least 2"),
    ],
)
def test_a_scan_that_cannot_be_right_is_named(scan, scratch, change, message):
    write_scan("scan.npz", scan)
    content = dict(np.load("scan.npz"))
    for name, what in change.items():
        value = content.pop(name)
        if what is not None:
            content[name] = what(value)
    np.savez("bad.npz", **content)
    with pytest.raises(UserError, match=message) as caught:
        read_scan("bad.npz")
    assert "bad.npz" in str(caught.value) or "schedule" in str(caught.value) or "TE" in str(caught.value)


def test_schedule_and_frames_must_agree(scan, scratch):
    write_scan("scan.npz", scan)
    content = dict(np.load("scan.npz"))
    for name in ("fa_deg", "tr_ms", "te_ms", "phase_deg"):
        content[name] = content[name][:4]
    np.savez("bad.npz", **content)
    with pytest.raises(UserError, match="the schedule has 4 pulses, kspace 5 frames"):
        read_scan("bad.npz")


def test_coil_maps_are_normalised_with_a_warning(scan, scratch, caplog):
    write_scan("scan.npz", scan)
    content = dict(np.load("scan.npz"))
    content["csm"] = 3 * content["csm"]
    np.savez("bad.npz", **content)
    with caplog.at_level(logging.WARNING):
        again = read_scan("bad.npz")
    assert "csm is not normalised" in caplog.text
    assert np.allclose((np.abs(again.coil_maps) ** 2).sum(axis=0), 1, atol=1e-5)


# Files ------------------------------------------------------------------------------------------------------------------


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
        ("text.npz", "no .npz, .mat or HDF5 file"),
        ("objects.npz", "Python objects, which are never read"),
        ("cut.npz", "is damaged"),
        ("words.mat", "words.mat is (damaged|not a MATLAB file)"),
        ("folder", "is a folder"),
    ]:
        with pytest.raises(UserError, match=message):
            load_arrays(name)


def test_an_existing_file_is_kept_without_force(scratch):
    Path("a").touch()
    files.refuse_existing("a", force=True)
    files.refuse_existing("b", force=False)
    with pytest.raises(UserError, match="a exists: give --force"):
        files.refuse_existing("a", force=False)


# Published layouts --------------------------------------------------------------------------------------------------------


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
def test_real_maps_load():
    reference = read_maps(DATA / "reference_map.npz", "ms")
    assert (
        reference.mask.sum() == 27709
        and reference.t1_s.max() == pytest.approx(5)
        and reference.phase.shape == (1, 224, 224)
    )
    brain = read_maps(DATA / "numerical_brain_cropped.mat")
    assert brain.mask.sum() > 10000 and 3 < brain.t1_s.max() < 6 and brain.b1.shape == (1, 141, 161)
    assert read_pgdnet_subspace(DATA / "MRFResnet_AE.mat").shape == (880, 10)
    with pytest.raises(UserError, match="not declared"):
        read_maps(DATA / "reference_map.npz")
