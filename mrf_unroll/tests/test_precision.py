"""The Cramer-Rao bound: attained by matching at little noise, and better for schedules that encode more."""

import pytest
import torch

from mrf_unroll.dictionary import Dictionary, tissue_grid
from mrf_unroll.epg import fisp_atoms
from mrf_unroll.precision import cramer_rao_bound
from mrf_unroll.schedules import jiang_like_fa
from mrf_unroll.sequence import Sequence


def test_refined_matching_attains_the_bound():
    sequence, noise = Sequence.of(jiang_like_fa(80)), 0.002
    bound = cramer_rao_bound([900.0], [80.0], sequence, noise)[0]
    # A fine grid around the truth, wide against the bound.
    spread = torch.linspace(-1, 1, 41).double()
    lut = tissue_grid(900 * torch.exp(0.08 * spread), 80 * torch.exp(0.12 * spread))
    dictionary = Dictionary.build(sequence, lut, rank=20, n_states=81)
    assert bound[0] < 0.02 * 900 and bound[1] < 0.03 * 80
    generator = torch.Generator().manual_seed(0)
    signal = fisp_atoms([900.0], [80.0], sequence, n_states=81)
    samples = signal + noise * torch.view_as_complex(torch.randn(4000, 80, 2, dtype=torch.float64, generator=generator))
    found = dictionary.match(dictionary.compress(samples).T.to(torch.complex64), refine=True)
    for measured, least, truth in (
        (found.t1_ms, bound[0], 900),
        (found.t2_ms, bound[1], 80),
        (found.pd.real, bound[2], 1),
    ):
        assert float(measured.std()) == pytest.approx(float(least), rel=0.06)
        assert abs(float(measured.mean()) - truth) < 0.2 * float(least)


def test_noise_scales_the_bound_and_pulses_lower_it():
    short, long = Sequence.of(jiang_like_fa(100)), Sequence.of(jiang_like_fa(200))
    one = cramer_rao_bound([830.0], [75.0], short, 0.01)
    assert torch.allclose(cramer_rao_bound([830.0], [75.0], short, 0.03), 3 * one)
    assert torch.allclose(cramer_rao_bound([830.0], [75.0], short, 0.01, pd=2.0)[:, :2], one[:, :2] / 2)
    assert (cramer_rao_bound([830.0], [75.0], long, 0.01) < one).all()
    without = Sequence.of(jiang_like_fa(100), ti_ms=None)
    assert cramer_rao_bound([830.0], [75.0], without, 0.01)[0, 0] > 1.5 * one[0, 0], "the inversion encodes T1"


def test_one_pulse_determines_nothing():
    bound = cramer_rao_bound([830.0], [75.0], Sequence.of([30.0]), 0.01)
    assert torch.isinf(bound).all()
