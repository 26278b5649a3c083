"""The verbs dictionary and simulate, driven as from the command line."""

from pathlib import Path

import numpy as np
import torch

from mrf_unroll.classical import conjugate_gradient
from mrf_unroll.commands import dictionary, simulate
from mrf_unroll.data.maps import read_maps
from mrf_unroll.data.scans import read_scan
from mrf_unroll.dictionary import Dictionary
from mrf_unroll.operators import SubspaceOperator, ToeplitzNormal
from mrf_unroll.schedules import jiang_like_fa
from mrf_unroll.sequence import Sequence
from mrf_unroll.simulation import tsmi

SMALL = ["--fa", "jiang:60", "--ti", "18", "--rank", "4", "--grid", "30x30", "--out", "dict.npz"]


def test_a_dictionary_from_text_files(scratch, capsys):
    np.savetxt("fa.txt", np.linspace(5, 60, 50))
    np.savetxt("tr.txt", np.linspace(11, 14, 50))
    arguments = ["--fa", "fa.txt", "--tr", "tr.txt", "--te", "1.9", "--ti", "20", "--rank", "5", "--grid", "20x20"]
    assert dictionary.main([*arguments, "--out", "dict.npz"]) == 0
    printed = capsys.readouterr().out
    built = Dictionary.load("dict.npz")
    assert built.rank == 5 and built.sequence.tr_ms[-1] == 14 and built.sequence.ti_ms == 20
    assert f"{built.energy:.7f}" in printed and "wrote dict.npz" in printed
    before = Path("dict.npz").read_bytes()
    assert dictionary.main([*arguments, "--out", "dict.npz"]) == 2
    assert (
        "dict.npz exists: replace it with --overwrite" in capsys.readouterr().err
        and Path("dict.npz").read_bytes() == before
    )
    assert dictionary.main([*arguments, "--out", "dict.npz", "--overwrite", "--grid", "10x10"]) == 0
    assert len(Dictionary.load("dict.npz").atoms) < len(built.atoms)


def test_mistakes_of_the_dictionary_leave_nothing(scratch, capsys):
    np.savetxt("tr.txt", [12.0] * 7)
    for change, message in [
        (["--te", "13"], "TE is longer than TR"),
        (["--tr", "tr.txt"], "60 flip angles, 7 of tr_ms"),
        (["--rank", "61"], "rank 61 is out of range"),
        (["--grid", "fine"], "give steps of T1 and T2 as 370x370"),
        (["--n_states", "few"], "give a whole number from 1, or auto"),
        (["--t1_ms", "[4000, 100]"], "smaller value first"),
        (["--pulses", "99"], "60 pulses cannot be cut to 99"),
        (["--fa", "none.txt"], "none.txt not found"),
    ]:
        assert dictionary.main([*SMALL, *change]) == 2
        assert message in capsys.readouterr().err
        assert not Path("dict.npz").exists()


def test_a_simulated_scan_is_that_of_its_maps(scratch, capsys):
    assert dictionary.main(SMALL) == 0
    arguments = ["--maps", "head:32", "--dictionary", "dict.npz", "--coils", "2", "--samples", "200", "--turns", "16"]
    assert simulate.main([*arguments, "--noise", "0", "--out", "scan.npz"]) == 0
    assert "60 frames of 200 samples (5x undersampled), 2 coils, 32 x 32 pixels" in capsys.readouterr().out
    scan, maps, built = read_scan("scan.npz"), read_maps("scan_maps.npz"), Dictionary.load("dict.npz")
    assert scan.sequence.hash == built.sequence_hash and scan.kspace.shape == (2, 60, 200)
    operator = SubspaceOperator(
        torch.from_numpy(scan.trajectory),
        built.basis,
        scan.image_size,
        torch.from_numpy(scan.coil_maps),
        torch.from_numpy(scan.dcf),
    )
    h = operator.weighted_adjoint(torch.from_numpy(scan.kspace)[None]).real.contiguous()
    solved = conjugate_gradient(ToeplitzNormal.from_operator(operator), h, iterations=50).x
    found = built.match(solved[0], refine=True)
    inside = torch.from_numpy(maps.mask[0])
    relative = found.t1_ms[inside] / 1000 / torch.from_numpy(maps.t1_s[0][maps.mask[0]]) - 1
    # Without bias; a spiral leaves out the corners of k-space, so edges ring.
    assert abs(relative.median()) < 0.02 and relative.abs().median() < 0.12
    assert abs(float(found.pd.abs()[inside].median()) / np.median(maps.pd[0][maps.mask[0]]) - 1) < 0.03


def test_the_same_seed_gives_the_same_scan(scratch):
    arguments = ["--maps", "head:16", "--schedule", "jiang:20", "--samples", "16", "--seed", "3"]
    assert simulate.main([*arguments, "--out", "a.npz"]) == 0
    assert simulate.main([*arguments, "--out", "b.h5"]) == 0
    a, b = read_scan("a.npz"), read_scan("b.h5")
    assert np.array_equal(a.kspace, b.kspace) and a.noise_std > 0


def test_phase_and_b1_of_the_maps_are_used(scratch):
    shape = (12, 14)
    fields = {"phase": np.full(shape, 0.4), "B1": np.full(shape, 0.8)}
    base = {"T1": np.full(shape, 900.0), "T2": np.full(shape, 80.0), "PD": np.full(shape, 5.0), "unit_t": "ms"}
    np.savez("maps.npz", **base, **fields)
    np.savez("bare.npz", **base)
    arguments = ["--schedule", "jiang:20", "--samples", "16", "--noise", "0", "--density", "none"]
    for name, options in [("plain", []), ("phase", ["--use_phase"]), ("b1", ["--use_b1"])]:
        assert simulate.main([*arguments, "--maps", "maps.npz", "--out", f"{name}.npz", *options]) == 0
    plain, phase, b1 = (read_scan(f"{name}.npz").kspace for name in ("plain", "phase", "b1"))
    assert np.allclose(phase, plain * np.exp(0.4j), atol=1e-4 * np.abs(plain).max())
    ratio = np.abs(b1).sum(axis=(0, 2)) / np.abs(plain).sum(axis=(0, 2))
    assert ratio.min() < 0.95
    assert read_maps("plain_maps.npz").pd.max() == 1 and read_scan("plain.npz").dcf is None


def test_mistakes_of_a_simulation_leave_nothing(scratch, capsys):
    shape = (8, 8)
    np.savez("maps.npz", T1=np.full(shape, 0.9), T2=np.full(shape, 0.08), PD=np.ones(shape))
    np.savez("radians.npz", traj=np.full((20, 5, 2), 2.0))
    np.savez("short.npz", traj=np.zeros((7, 5, 2)))
    good = ["--schedule", "jiang:20", "--unit_t", "s"]
    for change, message in [
        ([], "the unit of T1 and T2 is not declared"),
        ([*good, "--unit_t", "ms"], "looks like s: declare --unit_t"),
        ([*good, "--slice", "3"], "has 1 slices"),
        ([*good, "--use_b1"], "has no map of B1"),
        ([*good, "--traj", "radians.npz"], "divide traj by 2 pi"),
        ([*good, "--traj", "short.npz"], "7 shots, the schedule 20 pulses"),
        ([*good, "--density", "some"], "spiral, radial, pipe_menon or none"),
        ([*good, "--coils", "0"], "at least 1"),
        ([*good, "--dictionary", "maps.npz"], "no entry basis"),
        ([*good, "--maps", "none.npz"], "none.npz not found"),
    ]:
        arguments = ["--maps", "maps.npz", "--out", "scan.npz", *change]
        assert simulate.main(arguments) == 2, change
        assert message in capsys.readouterr().err
        assert not Path("scan.npz").exists() and not Path("scan_maps.npz").exists()


def test_the_series_of_a_voxel_depends_on_that_voxel_alone():
    built = Dictionary.build(Sequence.of(jiang_like_fa(50)), torch.tensor([[900.0, 80.0], [1400.0, 100.0]]), rank=2)
    maps = torch.zeros(1, 3, 2, 2)
    maps[0, :, 0, 1] = torch.tensor([0.9, 0.08, 2.0])
    maps[0, :, 1, 0] = torch.tensor([1.4, 0.10, 0.5])
    x = tsmi(maps, built.sequence, built.basis)
    assert torch.allclose(x[0, :, 0, 1], 2 * built.atoms[0], atol=1e-4)
    assert torch.allclose(x[0, :, 1, 0], 0.5 * built.atoms[1], atol=1e-4)
    assert x[0, :, 0, 0].abs().max() == 0
