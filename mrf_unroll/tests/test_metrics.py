"""Errors inside the mask."""

import torch

from mrf_unroll.metrics import (
    data_consistency,
    errors_of_sums,
    map_errors,
    map_sums,
    slice_nrmse,
    tissue_sums,
    tsmi_errors,
)


def _maps():
    generator = torch.Generator().manual_seed(0)
    truth = torch.rand(3, 3, 6, 5, generator=generator) + 0.1
    maps = truth + 0.1 * torch.randn(truth.shape, generator=generator)
    return maps, truth, torch.rand(3, 6, 5, generator=generator) > 0.4


def test_a_perfect_map_has_no_error():
    _, truth, mask = _maps()
    assert all(value == 0 for value in map_errors(truth, truth, mask).values())


def test_the_background_plays_no_part():
    maps, truth, mask = _maps()
    spoilt = torch.where(mask[:, None], maps, torch.tensor(1e6))
    assert map_errors(spoilt, truth, mask) == map_errors(maps, truth, mask)


def test_mape_leaves_out_voxels_without_truth():
    maps, truth, mask = _maps()
    whole = map_errors(maps, truth, mask)["T1_MAPE_percent"]
    inside = torch.nonzero(mask)[0]
    truth, kept = truth.clone(), mask.clone()
    truth[inside[0], 0, inside[1], inside[2]] = 0
    kept[inside[0], inside[1], inside[2]] = False
    assert map_errors(maps, truth, mask)["T1_MAPE_percent"] == map_errors(maps, truth, kept)["T1_MAPE_percent"] != whole


def test_sums_of_slices_add_up_to_the_pooled_errors():
    maps, truth, mask = _maps()
    parts = sum(map_sums(maps[i : i + 1], truth[i : i + 1], mask[i : i + 1]) for i in range(3))
    pooled = map_errors(maps, truth, mask)
    assert all(abs(value - pooled[name]) < 1e-12 for name, value in errors_of_sums(parts).items())


def test_nrmse_of_one_slice_is_the_pooled_one():
    maps, truth, mask = _maps()
    single = slice_nrmse(maps[:1], truth[:1], mask[:1])[0]
    pooled = map_errors(maps[:1], truth[:1], mask[:1])
    torch.testing.assert_close(single[1], torch.tensor(pooled["T2_NRMSE"]), rtol=1e-5, atol=0.0)


def test_psnr_of_complex_series_uses_the_largest_magnitude_inside():
    truth = torch.zeros(1, 2, 2, 2, dtype=torch.complex64)
    truth[0, 0, 0, 0] = 3j
    truth[0, 0, 1, 1] = 100.0
    mask = torch.tensor([[[True, True], [True, False]]])
    found = tsmi_errors(truth + 0.3, truth, mask)
    assert abs(found["TSMI_PSNR"] - 20) < 1e-4


def test_data_consistency_is_relative():
    measured = torch.randn(2, 3, 4, dtype=torch.complex64)
    torch.testing.assert_close(data_consistency(1.5 * measured, measured), torch.tensor([0.5, 0.5]))


def test_errors_by_tissue_add_up_to_those_of_all_voxels():
    torch.manual_seed(0)
    truth = torch.stack([4.5 * torch.rand(2, 9, 9), torch.rand(2, 9, 9), torch.rand(2, 9, 9)], dim=1)
    maps, mask = truth + 0.1 * torch.randn_like(truth), torch.rand(2, 9, 9) < 0.7
    sums = tissue_sums(maps, truth, mask)
    torch.testing.assert_close(sums.sum(dim=(0, 1)), map_sums(maps, truth, mask))
    assert (sums[..., 0, 0] > 0).sum() > 10
    one = mask & (truth[:, 0] >= 1.0) & (truth[:, 0] < 1.6) & (truth[:, 1] >= 0.3)
    torch.testing.assert_close(sums[2, 3], map_sums(maps, truth, one))
