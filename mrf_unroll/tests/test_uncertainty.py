"""Standard deviations of the maps."""

import pytest
import torch

from mrf_unroll.dictionary import Dictionary, log_grid
from mrf_unroll.methods import match_maps
from mrf_unroll.schedules import read_schedule
from mrf_unroll.simulation import tsmi
from mrf_unroll.uncertainty import map_deviations, tangents

SIZE = 40


@pytest.fixture(scope="module")
def setting():
    sequence = read_schedule("jiang:60")
    dictionary = Dictionary.build(sequence, log_grid(80, 80, (200, 4000), (20, 800)), 6)
    basis = torch.as_tensor(dictionary.basis)
    maps = torch.zeros(1, 3, SIZE, SIZE)
    maps[:, 0], maps[:, 1], maps[:, 2] = 0.9, 0.08, 0.8
    maps[:, 0, :, SIZE // 2 :], maps[:, 1, :, SIZE // 2 :] = 2.4, 0.3
    return sequence, dictionary, maps, tsmi(maps, sequence, basis), tangents(sequence, basis)


@pytest.mark.parametrize("complex_valued", [False, True])
@pytest.mark.parametrize("noise", [0.01, 0.05])
def test_white_noise_gives_errors_of_the_size_of_the_deviations(setting, noise, complex_valued):
    _, dictionary, maps, series, table = setting
    torch.manual_seed(0)
    if complex_valued:
        series = series * torch.polar(torch.ones(1), torch.ones(1))
    noisy = series + noise * torch.randn_like(series) * (2**0.5 if complex_valued else 1)
    found = match_maps(dictionary, noisy, refine=True)
    deviations = map_deviations(noisy[0], found[0], torch.ones(SIZE, SIZE) > 0, table, (1.0, 1.0, 1.0))
    assert deviations is not None
    for half in (slice(2, SIZE // 2 - 2), slice(SIZE // 2 + 2, SIZE - 2)):
        errors = (found - maps)[0, :, :, half].flatten(1)
        inside = (errors.abs() < deviations[:, :, half].flatten(1)).float().mean(dim=1)
        # 68 % of 640 voxels of a normal distribution, and what grids and curvature do.
        assert ((inside > 0.58) & (inside < 0.82)).all(), inside


def test_deviations_follow_the_noise_the_scale_and_the_factors(setting):
    _, _, maps, series, table = setting
    torch.manual_seed(0)
    draws, mask = torch.randn_like(series), torch.ones(SIZE, SIZE) > 0
    one = map_deviations((series + 0.01 * draws)[0], maps[0], mask, table, (1.0, 1.0, 1.0))
    twice = map_deviations((series + 0.02 * draws)[0], maps[0], mask, table, (1.0, 1.0, 1.0))
    scaled = map_deviations(
        5 * (series + 0.01 * draws)[0], maps[0] * torch.tensor([1, 1, 5])[:, None, None], mask, table, (2, 3, 1)
    )
    assert one is not None and twice is not None and scaled is not None
    # The derivatives are those of the nearest tissue on a grid: a share of the signal itself is left over.
    assert torch.allclose(twice, 2 * one, rtol=0.25)
    assert torch.allclose(scaled, one * torch.tensor([2, 3, 5])[:, None, None], rtol=1e-3)


def test_nothing_outside_the_mask_and_none_at_low_rank(setting):
    sequence, dictionary, maps, series, table = setting
    mask = torch.zeros(SIZE, SIZE) > 0
    mask[3:9, 3:9] = True
    found = map_deviations(series[0], maps[0], mask, table, (1.0, 1.0, 1.0))
    assert found is not None and not found[:, ~mask].any()
    low = torch.as_tensor(dictionary.basis)[:, :3]
    assert map_deviations(series[0, :3], maps[0], mask, tangents(sequence, low), (1.0, 1.0, 1.0)) is None
