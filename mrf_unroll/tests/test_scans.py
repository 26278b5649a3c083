"""Scans that come in are checked: shapes, radians, values that are not finite; what goes out comes back."""

import logging
from pathlib import Path

import numpy as np
import pytest

from mrf_unroll.data.scans import Scan, read_scan, write_scan
from mrf_unroll.schedules import jiang_like_fa
from mrf_unroll.sequence import Sequence
from shared_utils import UserError


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
    for name in ("csm", "dcf", "noise_std", "phase_deg", "sequence_sha256", "inversion_efficiency"):
        content.pop(name)
    content["kspace"], content["tr_ms"], content["image_size"] = content["kspace"][0], 12.0, 8
    content["ti_ms"] = np.nan
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
        ({"image_size": lambda v: np.array([np.nan, 9])}, "two whole numbers"),
        ({"image_size": lambda v: np.array([8.5, 9])}, "two whole numbers"),
        ({"image_size": lambda v: np.array([8, 9, 1])}, "two whole numbers"),
        ({"image_size": lambda v: np.array([8, 10**9])}, "more than 2048 pixels"),
        ({"image_size": lambda v: np.array(["8", "9"])}, "image_size holds text"),
        ({"fa_deg": np.deg2rad}, "looks like radians: multiply by 180 / pi"),
        ({"fa_deg": lambda v: np.array(["ten"] * 5)}, "fa_deg holds text"),
        (
            {"tr_ms": lambda v: v / 1000, "te_ms": lambda v: v / 1000},
            "tr_ms is 0.012 ms at most, which looks like seconds",
        ),
        ({"te_ms": lambda v: v / 1000}, "te_ms is 0.002 ms at most, which looks like seconds"),
        ({"ti_ms": lambda v: v / 1000}, "ti_ms is 0.018 ms at most, which looks like seconds"),
        ({"ti_ms": None}, "no entry ti_ms .* nan where there is no inversion"),
        ({"ti_ms": lambda v: np.array([18.0, 20.0])}, "ti_ms holds 2 numbers"),
        ({"ti_ms": lambda v: np.array(np.inf)}, "ti_ms is inf"),
        ({"noise_std": lambda v: np.array(["quiet"])}, "noise_std holds text"),
        (
            {"traj": lambda v: v * (0.502 / np.abs(v).max())},
            "divide traj by 1.004, multiply image_size by it",
        ),
        ({"traj": lambda v: v * (1.0 / np.abs(v).max())}, "scaled to 1: multiply traj by 0.5"),
        ({"kspace": lambda v: v[:0]}, "is empty: it needs a coil"),
        ({"kspace": lambda v: v * 0}, "kspace is 0 everywhere"),
        ({"kspace": lambda v: v.astype(complex) * 1e200}, "single precision"),
        ({"kspace": lambda v: v.astype(str)}, "kspace holds text"),
        ({"csm": lambda v: v * 0}, "csm is 0 everywhere"),
        ({"dcf": lambda v: v * 0}, "dcf is 0 everywhere"),
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
