"""EPG-FISP against isochromats, closed forms, itself in other forms, and finite differences."""

import math

import numpy as np
import pytest
import torch

from mrf_unroll import epg
from mrf_unroll.epg import fisp_atoms, fisp_signal
from mrf_unroll.schedules import jiang_like_fa
from mrf_unroll.sequence import Sequence
from shared_utils import UserError

T1, T2 = torch.tensor([1300.0, 800.0, 4000.0]), torch.tensor([110.0, 60.0, 2000.0])


def isochromats(t1, t2, sequence, b1=1.0, count=2048):
    """Brute force: rotate, relax and dephase a voxel of many spins, one turn of phase a repetition; the mean signal."""
    dephasing = np.exp(2j * np.pi * (np.arange(count) + 0.5) / count)
    transverse, z = np.zeros(count, complex), np.ones(count)
    if sequence.ti_ms is not None:
        recovery = math.exp(-sequence.ti_ms / t1)
        z = -sequence.inversion_efficiency * recovery * z + 1 - recovery
    signal = []
    for flip, phase, tr, te in zip(sequence.fa_deg, sequence.phase_deg, sequence.tr_ms, sequence.te_ms, strict=True):
        a, turn = b1 * math.radians(flip), np.exp(1j * math.radians(phase))
        along = transverse * turn.conj()
        # A right-handed rotation about the pulse's own x axis.
        x, y = along.real, along.imag
        y, z = y * math.cos(a) - z * math.sin(a), y * math.sin(a) + z * math.cos(a)
        transverse = (x + 1j * y) * turn
        signal.append(transverse.mean() * math.exp(-te / t2))
        transverse = transverse * math.exp(-tr / t2) * dephasing
        z = 1 + (z - 1) * math.exp(-tr / t1)
    return np.array(signal)


@pytest.fixture
def varied():
    rng = np.random.default_rng(0)
    return Sequence.of(
        rng.uniform(5, 80, 60), rng.uniform(9, 16, 60), rng.uniform(1, 4, 60), 20.0, rng.uniform(0, 360, 60)
    )


@pytest.mark.parametrize("efficiency", [1.0, 0.93])
def test_the_signal_is_that_of_many_spins(varied, efficiency):
    for phases in (0 * varied.phase_deg, 180.0 * (np.arange(60) % 3 == 0), varied.phase_deg):
        sequence = Sequence.of(varied.fa_deg, varied.tr_ms, varied.te_ms, 20.0, phases, efficiency)
        found = fisp_signal([900.0], [80.0], sequence, b1=0.9, n_states=61)[0].numpy()
        assert np.abs(found - isochromats(900.0, 80.0, sequence, 0.9)).max() < 1e-12


def test_a_single_pulse_has_its_closed_form():
    sequence = Sequence.of([30.0], 12.0, 3.0, 18.0)
    magnetisation = 1 - 2 * math.exp(-18 / 1000)
    expected = magnetisation * math.sin(math.radians(30)) * math.exp(-3 / 90)
    assert fisp_atoms([1000.0], [90.0], sequence)[0, 0] == pytest.approx(expected, rel=1e-12)
    assert expected < 0


def test_the_real_form_is_the_complex_one(varied):
    sequence = Sequence.of(varied.fa_deg, varied.tr_ms, varied.te_ms, 20.0, 180.0 * (np.arange(60) % 2))
    real = fisp_atoms(T1, T2, sequence, n_states=61)
    general = epg._simulate(epg._complex_block, T1, T2, sequence, 1.0, 61, 1e-4)
    assert real.dtype == torch.float64
    assert (1j * general - real).abs().max() < 1e-14


def test_a_turned_transmitter_turns_the_signal(varied):
    turned = Sequence.of(varied.fa_deg, varied.tr_ms, varied.te_ms, 20.0, varied.phase_deg + 33.0)
    ratio = fisp_signal(T1, T2, turned) / fisp_signal(T1, T2, varied)
    assert (ratio - np.exp(1j * math.radians(33))).abs().max() < 1e-10


def test_auto_keeps_every_tissue_within_the_tolerance():
    generator = torch.Generator().manual_seed(0)
    t1 = torch.exp(torch.rand(200, generator=generator) * math.log(50)) * 100
    t2 = torch.minimum(torch.exp(torch.rand(200, generator=generator) * math.log(200)) * 10, t1)
    t1[-1], t2[-1] = 4000.0, 2000.0
    sequence = Sequence.of(jiang_like_fa(300))
    exact = fisp_atoms(t1, t2, sequence, n_states=301)
    error = ((fisp_atoms(t1, t2, sequence) - exact).abs().amax(dim=1) / exact.abs().amax(dim=1)).max()
    assert error < 1e-4
    # A fixed number that serves tissue is wrong for fluid: what auto is there for.
    few = (fisp_atoms(t1[-1:], t2[-1:], sequence, n_states=20) - exact[-1]).abs().max() / exact[-1].abs().max()
    assert few > 1e-2


def test_b1_may_differ_from_tissue_to_tissue(varied):
    b1 = torch.tensor([0.8, 1.0, 1.15])
    together = fisp_signal(T1, T2, varied, b1=b1)
    alone = torch.cat([fisp_signal(T1[i : i + 1], T2[i : i + 1], varied, b1=float(b1[i])) for i in range(3)])
    assert (together - alone).abs().max() < 1e-4 * alone.abs().max()


def test_gradients_are_those_of_finite_differences():
    sequence = Sequence.of(jiang_like_fa(12))
    inputs = [
        torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in ([900.0, 1400.0], [80.0, 120.0], [0.9, 1.1])
    ]
    inputs.append(torch.tensor(sequence.fa_deg, requires_grad=True))

    def simulate(t1, t2, b1, fa_deg):
        return fisp_atoms(t1, t2, sequence, b1, n_states=13, fa_deg=fa_deg)

    assert torch.autograd.gradcheck(simulate, inputs, eps=1e-4)
    # What autograd follows is what the fast form computes.
    with torch.no_grad():
        fast = simulate(*inputs)
    assert (simulate(*inputs) - fast).abs().max() < 1e-14


def test_background_and_nonsense_are_refused():
    sequence = Sequence.of([10.0, 20.0])
    with pytest.raises(ValueError, match="positive"):
        fisp_atoms([0.0], [10.0], sequence)
    with pytest.raises(ValueError, match="n_states"):
        fisp_atoms([100.0], [10.0], sequence, n_states=0)
    with pytest.raises(ValueError, match="fisp_signal"):
        fisp_atoms([100.0], [10.0], Sequence.of([10.0, 20.0], phase_deg=[0, 90]))
    with pytest.raises(UserError, match="TE is longer than TR at pulse 1"):
        Sequence.of([10.0, 20.0], tr_ms=[12.0, 2.0], te_ms=3.0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_gives_the_same(varied):
    expected = fisp_signal(T1, T2, varied, n_states=61)
    assert (fisp_signal(T1.cuda(), T2.cuda(), varied, n_states=61).cpu() - expected).abs().max() < 1e-10
