"""Schedules come as they lie on people's disks: text, npz, mat, radians, zero flips, the inversion as first pulse."""

from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from mrf_unroll.schedules import cao_like_fa, jiang_like_fa, ramp, read_schedule
from mrf_unroll.sequence import Sequence
from shared_utils import UserError

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "mrf_unroll"


def test_text_files_of_angles_and_times(scratch):
    np.savetxt("fa.txt", [10, 0, 20.5])
    np.savetxt("tr.txt", [12, 13, 14])
    sequence = read_schedule("fa.txt", tr="tr.txt", te=1.9, ti=20)
    assert sequence.fa_deg.tolist() == [10, 0, 20.5]
    assert sequence.tr_ms.tolist() == [12, 13, 14]
    assert sequence.te_ms.tolist() == [1.9] * 3
    assert (sequence.ti_ms, sequence.phase_deg.tolist()) == (20, [0, 0, 0])


@pytest.mark.parametrize("kind", ["npz", "mat"])
def test_arrays_with_everything(scratch, kind):
    entries = {
        "FA": np.array([[10.0], [20.0]]),
        "TR": np.array([[15.0], [16.0]]),
        "TE": 2.5,
        "PH": np.array([[0], [180]]),
    }
    np.savez("a.npz", **entries) if kind == "npz" else savemat("a.mat", entries)
    sequence = read_schedule(f"a.{kind}")
    assert sequence.fa_deg.tolist() == [10, 20] and sequence.tr_ms.tolist() == [15, 16]
    assert sequence.te_ms.tolist() == [2.5, 2.5] and sequence.phase_deg.tolist() == [0, 180]
    assert sequence.ti_ms is None and sequence.is_real


def test_a_train_in_radians_with_the_inversion_first(scratch):
    np.savez("a.npz", OptA=np.concatenate([[np.pi], np.deg2rad([10, 20, 30])]), TR_ms=15)
    sequence = read_schedule("a.npz", tr=15.0, train="OptA")
    assert np.allclose(sequence.fa_deg, [10, 20, 30])
    assert sequence.ti_ms == 15
    assert read_schedule("a.npz", tr=15.0, ti=21.0, train="OptA").ti_ms == 21


def test_degrees_stay_degrees_where_the_unit_is_said(scratch):
    np.savetxt("fa.txt", [1, 2, 3])
    assert read_schedule("fa.txt", unit="deg").fa_deg.tolist() == [1, 2, 3]
    assert read_schedule("fa.txt", unit="rad").fa_deg.tolist() == pytest.approx(np.rad2deg([1, 2, 3]))


def test_generators():
    fa = jiang_like_fa(1000)
    assert len(fa) == 1000 and fa.min() == 1
    assert [round(float(fa[lobe * 200 : (lobe + 1) * 200].max())) for lobe in range(5)] == [35, 43, 70, 45, 27]
    assert fa[0] == max(1, 35 * np.sin(np.pi * 0.5 / 200))
    assert ramp(3, 1, 35).tolist() == [1, 18, 35]
    assert len(cao_like_fa(500)) == 500 and cao_like_fa(500).min() >= 1 and cao_like_fa(500).max() <= 70
    assert len(jiang_like_fa(123)) == 123
    assert read_schedule("jiang:200", ti=18).hash == Sequence.of(jiang_like_fa(200)).hash


def test_the_hash_tells_schedules_apart_and_survives_single_precision():
    sequence = Sequence.of(jiang_like_fa(50))
    assert sequence.hash == Sequence.of(jiang_like_fa(50).astype(np.float32)).hash
    others = [
        Sequence.of(jiang_like_fa(50) + 0.01),
        Sequence.of(jiang_like_fa(50), tr_ms=12.5),
        Sequence.of(jiang_like_fa(50), te_ms=2.5),
        Sequence.of(jiang_like_fa(50), ti_ms=None),
        Sequence.of(jiang_like_fa(50), phase_deg=180.0),
        sequence.truncated(49),
    ]
    assert len({sequence.hash, *(other.hash for other in others)}) == 7


def test_mistakes_are_named(scratch):
    np.savetxt("fa.txt", [10, 20, 30])
    np.savetxt("tr.txt", [12, 13])
    Path("words.txt").write_text("ten\ntwenty\n")
    np.savez("other.npz", angles=[1.0])
    for arguments, message in [
        ({"fa": "nowhere.txt"}, "schedule nowhere.txt not found"),
        ({"fa": "jiang:x"}, "jiang:200"),
        ({"fa": "words.txt"}, "one number a line"),
        ({"fa": "fa.txt", "tr": "tr.txt"}, "lengths differ: 3 flip angles, 2 of tr_ms"),
        ({"fa": "fa.txt", "tr": "none.txt"}, "none.txt not found"),
        ({"fa": "fa.txt", "te": 13.0}, "TE is longer than TR"),
        ({"fa": "fa.txt", "tr": -12.0, "te": -13.0}, "TR must be positive"),
        ({"fa": "other.npz"}, "name the entry with train="),
        ({"fa": "other.npz", "train": "A"}, "no entry A"),
    ]:
        with pytest.raises(UserError, match=message):
            read_schedule(**arguments)
    with pytest.raises(UserError, match="not finite"):
        Sequence.of([10.0, np.nan])


@pytest.mark.skipif(not DATA.is_dir(), reason="the shared data folder is not here")
def test_real_schedules_load():
    jiang = read_schedule(DATA / "fisp_jiang_fa.txt", tr=str(DATA / "fisp_jiang_tr.txt"), te=2.0, ti=20.0)
    assert len(jiang) == 1000 and (jiang.fa_deg == 0).sum() == 40 and 11.6 < jiang.tr_ms.min() < 11.7
    koma = read_schedule(DATA / "MRFinput_koma.mat")
    assert len(koma) == 1000 and koma.is_real and set(koma.phase_deg) == {0, 180}
    train = read_schedule(DATA / "sequences.npz", tr=15.0, train="OptA")
    assert len(train) == 399 and train.ti_ms == 15 and train.fa_deg.max() < 90
