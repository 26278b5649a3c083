"""Grids, compression and matching: orthonormal, exact, within memory, off the grid."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from mrf_unroll import matching
from mrf_unroll.dictionary import Dictionary, linear_grid, log_grid
from mrf_unroll.epg import fisp_atoms, fisp_signal
from mrf_unroll.schedules import jiang_like_fa
from mrf_unroll.sequence import Sequence
from shared_utils import UserError


@pytest.fixture(scope="module")
def sequence():
    return Sequence.of(jiang_like_fa(100))


@pytest.fixture(scope="module")
def small(sequence):
    return Dictionary.build(sequence, log_grid(60, 60), rank=6)


@pytest.fixture(scope="module")
def complex_small():
    spoiled = Sequence.of(jiang_like_fa(60), phase_deg=(58.5 * np.arange(60) ** 2) % 360)
    return Dictionary.build(spoiled, log_grid(20, 20), rank=8, n_states=40)


def brute_force(x, dictionary):
    """Indices and relative margins to the second best, in double precision."""
    unit = torch.nn.functional.normalize(dictionary.atoms.to(torch.complex128), dim=1)
    best, index = (x.to(torch.complex128).T @ unit.mH).abs().topk(2, dim=1)
    return index[:, 0], (best[:, 0] - best[:, 1]) / best[:, 0]


def noisy(dictionary, count, noise, seed, complex_valued):
    generator = torch.Generator().manual_seed(seed)
    index = torch.randint(len(dictionary.atoms), (count,), generator=generator)
    x = dictionary.atoms[index].T
    x = x / torch.linalg.vector_norm(x, dim=0)
    x = x + noise * torch.randn(x.shape, generator=generator)
    return torch.polar(torch.ones(count), 6.28 * torch.rand(count, generator=generator)) * x if complex_valued else -x


def test_grids_keep_what_can_be_tissue():
    lut = log_grid(5, 4, (100, 1000), (10, 200))
    assert lut.shape[1] == 2 and (lut[:, 1] <= lut[:, 0]).all()
    assert len(lut) == 5 * 4 - 2, "T1 = 100 and 178 go with no T2 of 200"
    assert (lut[:, 0].diff() >= 0).all(), "T1 is the outer loop"
    jiang = linear_grid()
    assert jiang[:, 0].max() == 5000 and jiang[:, 1].max() == 500 and (jiang[:, 1] <= jiang[:, 0]).all()
    with pytest.raises(UserError, match="no pair"):
        log_grid(3, 3, (10, 20), (100, 200))


def test_the_basis_is_orthonormal_and_keeps_the_energy_it_says(small, sequence):
    basis = small.basis
    assert (basis.T @ basis - torch.eye(6)).abs().max() < 1e-6
    signals = fisp_atoms(small.lut_ms[:, 0], small.lut_ms[:, 1], sequence)
    kept = (signals @ basis).square().sum() / signals.square().sum()
    assert float(kept) == pytest.approx(small.energy, abs=1e-6) and small.energy > 0.999
    singular = torch.linalg.svdvals(signals)[:6]
    assert (small.singular_values - singular).abs().max() < 1e-4 * singular[0]
    assert (small.atoms.sum(dim=0) >= 0).all()


def test_a_complex_dictionary_compresses_its_own_signals(complex_small):
    basis = complex_small.basis
    assert basis.is_complex() and (basis.mH @ basis - torch.eye(8)).abs().max() < 1e-6
    signals = 1j * fisp_signal(
        complex_small.lut_ms[:, 0], complex_small.lut_ms[:, 1], complex_small.sequence, n_states=40
    )
    assert (complex_small.compress(signals) - complex_small.atoms).abs().max() < 1e-5
    # X = V x: what the operators assume.
    restored = complex_small.atoms.to(basis.dtype) @ basis.T
    assert torch.linalg.vector_norm(restored - signals) < 0.1 * torch.linalg.vector_norm(signals)


@pytest.mark.parametrize("noise", [0.01, 0.3])
@pytest.mark.parametrize("complex_valued", [False, True])
def test_matching_is_exact(small, noise, complex_valued):
    x = noisy(small, 2000, noise, 1, complex_valued)
    index, margin = brute_force(x, small)
    found = small.match(x)
    assert (found.index == index)[margin > 1e-5].all()
    assert (margin > 1e-5).float().mean() > 0.5
    # Inside the bound of one megabyte nothing changes.
    assert torch.equal(small.match(x, max_memory_mb=1).index, found.index)


def test_matching_complex_atoms_is_exact(complex_small):
    x = noisy(complex_small, 500, 0.05, 2, True)
    index, margin = brute_force(x, complex_small)
    assert (complex_small.match(x).index == index)[margin > 1e-5].all()


def test_density_and_phase_are_recovered(small):
    phase = torch.linspace(-3, 3, 50)
    density = torch.polar(torch.linspace(0.1, 2, 50), phase)
    x = (small.atoms[::20][:50] * density[:, None]).T.reshape(1, 6, 5, 10)
    found = small.match(x)
    assert found.pd.shape == (1, 5, 10)
    assert (found.pd.reshape(-1) - density).abs().max() < 1e-4
    assert torch.allclose(found.t1_ms.reshape(-1), small.lut_ms[::20][:50, 0].float())


def test_zero_voxels_give_zeros(small):
    x = torch.zeros(6, 3, 4)
    x[:, 1, 2] = small.atoms[7]
    found = small.match(x)
    assert (found.t1_ms != 0).sum() == 1 and (found.pd != 0).sum() == 1 and found.index.max() == 7
    assert found.index[0, 0] == -1 and not torch.isnan(found.pd).any()


@pytest.mark.parametrize("complex_valued", [False, True])
def test_refinement_leaves_the_grid_for_the_truth(small, sequence, complex_valued):
    generator = torch.Generator().manual_seed(4)
    t1 = 400 + 1200 * torch.rand(300, generator=generator).double()
    t2 = 40 + 120 * torch.rand(300, generator=generator).double()
    x = small.compress(fisp_atoms(t1, t2, sequence)).T.float()
    x = x * torch.polar(torch.ones(300), torch.full((300,), 0.7)) if complex_valued else x
    coarse, fine = small.match(x), small.match(x, refine=True)

    def error(found):
        return float((found.t1_ms / t1 - 1).abs().mean()), float((found.t2_ms / t2 - 1).abs().mean())

    assert error(fine)[0] < 0.5 * error(coarse)[0] and error(fine)[1] < 0.5 * error(coarse)[1]
    assert (fine.pd.abs() - 1).abs().mean() < (coarse.pd.abs() - 1).abs().mean()


def test_a_file_comes_back_and_a_changed_one_is_refused(small, scratch):
    small.save("dict.npz")
    again = Dictionary.load("dict.npz")
    assert torch.equal(again.atoms, small.atoms) and again.sequence_hash == small.sequence_hash
    with np.load("dict.npz") as archive:
        content = dict(archive)
    assert set(content) >= {"basis", "atoms", "norm", "lut_ms", "singular_values", "fa_deg", "tr_ms", "te_ms", "ti_ms"}
    np.savez("changed.npz", **{**content, "fa_deg": content["fa_deg"] + 1})
    np.savez("cut.npz", **{**content, "atoms": content["atoms"][:, :3]})
    np.savez("old.npz", **{**content, "schema": 0})
    np.savez("other.npz", a=1)
    for name, message in [
        ("changed.npz", "does not give the stored hash"),
        ("cut.npz", "do not fit"),
        ("old.npz", "schema 0"),
        ("other.npz", "no entry basis"),
        ("none.npz", "not found"),
    ]:
        with pytest.raises(UserError, match=message):
            Dictionary.load(name)


def test_a_rank_that_cannot_be_is_refused(sequence):
    with pytest.raises(UserError, match="rank 200 is out of range"):
        Dictionary.build(sequence, log_grid(5, 5), rank=200)


MEMORY = """
import ctypes, pathlib, torch
from mrf_unroll.dictionary import Dictionary
from mrf_unroll.sequence import Sequence
from mrf_unroll.schedules import ramp
torch.set_num_threads(1)
t = torch.linspace(0, 1, 8000)[:, None] * torch.arange(1, 11) * 3
d = Dictionary(torch.eye(10), torch.cos(t), torch.ones(8000, 2), torch.ones(10), 1.0, Sequence.of(ramp(10)))
x = torch.randn(10, 8000, dtype=torch.complex64)

def peak():
    return int(next(l for l in open("/proc/self/status") if l.startswith("VmHWM")).split()[1])

d.match(x[:, :100])
ctypes.CDLL(None).malloc_trim(0)
pathlib.Path("/proc/self/clear_refs").write_text("5")
before = peak()
d.match(x, max_memory_mb=16)
print((peak() - before) / 1024)
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peak memory is read from Linux's /proc")
def test_matching_stays_within_its_memory():
    done = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True)
    # All voxels by all atoms would be 256 MB; inputs, outputs and what the libraries fetch on the way are a few.
    assert 1 < float(done.stdout) <= 2 * 16


def test_leaves_partition_the_atoms(small):
    order, bounds, centres, cosine, sine = matching.AtomSearch(small.atoms).leaves
    assert torch.equal(order.sort().values, torch.arange(len(small.atoms)))
    assert (bounds.diff() <= matching._LEAF).all() and len(centres) == len(bounds) - 1
    assert ((cosine**2 + sine**2 - 1).abs() < 1e-5).all()
