"""Heads, map folders and what is measured of them."""

import numpy as np
import pytest
import torch

from mrf_unroll.data.datamodule import FingerprintingDataModule
from mrf_unroll.data.measure import Measurer, random_symmetry
from mrf_unroll.data.phantoms import TISSUES, head_phantom, vary_maps
from mrf_unroll.data.slices import fit_to_size, map_folder_slices, procedural_slices, read_slices
from mrf_unroll.metrics import NAMES
from mrf_unroll.protocol import Protocol, ProtocolOptions
from shared_utils import UserError

SMALL = ProtocolOptions(schedule="jiang:40", rank=4, grid=(15, 15), image_size=16, samples=20, turns=2.0)


@pytest.fixture(scope="module")
def protocol():
    return Protocol(SMALL)


def test_heads_are_physical_and_the_same_from_the_same_seed():
    one, again, other = (head_phantom(40, np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert np.array_equal(one.maps, again.maps) and not np.array_equal(one.maps, other.maps)
    t1, t2, density = one.maps
    assert (t2 <= t1).all() and (one.maps[:, ~one.mask] == 0).all() and (one.maps[:, one.mask] > 0).all()
    assert 0.1 < t1[one.mask].min() < 1 < t1.max() < 6 and density.max() < 1.2
    assert {"fat", "csf", "cortex", "white_matter"} <= {list(TISSUES)[label] for label in np.unique(one.labels)}


def test_varied_maps_are_other_subjects_of_the_same_tissue():
    head = head_phantom(40, np.random.default_rng(0))
    varied = vary_maps(head.maps, head.mask, np.random.default_rng(1))
    assert (varied.mask != head.mask).any() and abs(varied.mask.sum() / head.mask.sum() - 1) < 0.3
    assert (varied.maps[1] <= varied.maps[0]).all() and (varied.maps[:, ~varied.mask] == 0).all()
    assert (varied.maps[:, varied.mask] > 0).all()


def test_resampled_voxels_belong_to_the_mask_where_half_of_them_is_tissue():
    maps, mask = np.ones((3, 8, 8), np.float32), np.zeros((8, 8), bool)
    mask[:3, :4], mask[4, 4:] = True, True  # whole, half and a quarter of voxels of 2 x 2
    mask[6, 0] = True
    found, inside, _ = fit_to_size(maps, mask, np.zeros((8, 8), np.float32), 4, resample=True)
    expected = np.zeros((4, 4), bool)
    expected[:2, :2], expected[2, 2:] = True, True
    assert np.array_equal(inside, expected)
    assert np.allclose(found, np.broadcast_to(expected, found.shape))


def test_no_voxel_of_the_test_split_is_one_of_training():
    data = FingerprintingDataModule(protocol=SMALL, num_train=6, num_val=2, num_test=3, seed=0)
    train = {tuple(voxel) for one in data.slices["train"] for voxel in one.maps[:, one.mask].T.tolist()}
    test = {tuple(voxel) for one in data.slices["test"] for voxel in one.maps[:, one.mask].T.tolist()}
    assert not train & test and len({one.subject for split in data.slices.values() for one in split}) == 11


def test_test_measurements_know_neither_subspace_nor_grid(protocol):
    slices = procedural_slices("test", 1, 16, 0)
    batch = Measurer(protocol, noise=0.0).evaluation(slices, 0)[0]
    projected = protocol.operator(batch.tsmi)
    outside = float((batch.kspace - projected).norm() / batch.kspace.norm())
    assert 1e-3 < outside < 0.2  # what the subspace leaves out is in the data
    grid = {tuple(np.round(pair, 3)) for pair in np.asarray(protocol.dictionary.lut_ms).tolist()}
    voxels = {tuple(np.round(1000 * voxel, 3)) for voxel in slices[0].maps[:2, slices[0].mask].T.tolist()}
    assert not grid & voxels


def test_noise_has_the_stated_deviation(protocol):
    slices = procedural_slices("test", 1, 16, 0)
    clean, noisy = (Measurer(protocol, noise=noise).evaluation(slices, 5)[0] for noise in (0.0, 0.05))
    noise = torch.view_as_real(noisy.kspace - clean.kspace)
    assert abs(float(noise.std() / clean.kspace.abs().mean()) - 0.05) < 0.003
    again = Measurer(protocol, noise=0.05).evaluation(slices, 5)[0]
    assert torch.equal(again.kspace, noisy.kspace)


def test_training_measurements_are_those_of_the_operator(protocol):
    measurer = Measurer(protocol, noise=0.0)
    batch = measurer.measure(measurer.training(procedural_slices("train", 2, 16, 0)))
    kspace = protocol.operator(batch.tsmi)
    expected = protocol.adjoint(kspace).real
    assert float((batch.adjoint - expected).norm() / expected.norm()) < 1e-4
    weighted = (protocol.density * kspace.abs().square()).flatten(1).sum(dim=1).float()
    torch.testing.assert_close(batch.energy, weighted, rtol=1e-4, atol=0.0)


def test_training_noise_is_that_of_the_samples(protocol):
    measurer = Measurer(protocol, noise=0.1)
    batch = measurer.training(procedural_slices("train", 1, 16, 0))
    torch.manual_seed(0)
    draws = torch.cat([measurer.measure(batch).adjoint - protocol.normal(batch.tsmi) for _ in range(40)])
    noise = [batch.noise_std * torch.randn(40, *measurer._kspace_shape(), 2)]
    expected = protocol.adjoint(torch.view_as_complex(noise[0])).real
    assert abs(float(draws.std() / expected.std()) - 1) < 0.05


def test_the_noise_of_very_many_samples_is_taken_from_some_frames(protocol, monkeypatch):
    slices = procedural_slices("train", 2, 16, 0)
    every = Measurer(protocol).training(slices).noise_std
    monkeypatch.setattr("mrf_unroll.data.measure._MANY_SAMPLES", 100)
    some = Measurer(protocol).training(slices).noise_std
    assert not torch.equal(every, some)
    torch.testing.assert_close(some, every, rtol=0.1, atol=0.0)


def test_symmetries_move_maps_and_time_series_alike(protocol):
    measurer = Measurer(protocol)
    batch = measurer.training(procedural_slices("train", 4, 16, 0))
    torch.manual_seed(2)
    moved = random_symmetry(batch)
    assert not torch.equal(moved.maps, batch.maps)
    slices = [
        one._replace(maps=maps.numpy(), mask=mask.numpy())
        for one, maps, mask in zip(procedural_slices("train", 4, 16, 0), moved.maps, moved.mask, strict=True)
    ]
    torch.testing.assert_close(measurer.training(slices).tsmi, moved.tsmi, rtol=1e-3, atol=1e-4)


def test_the_noise_of_an_augmented_slice_follows_its_gain(protocol):
    batch = Measurer(protocol).training(procedural_slices("train", 4, 16, 0))
    torch.manual_seed(2)
    moved = random_symmetry(batch)
    gains = moved.maps[:, 2].sum(dim=(1, 2)) / batch.maps[:, 2].sum(dim=(1, 2))
    assert (gains - 1).abs().max() > 0.02
    torch.testing.assert_close(moved.noise_std / batch.noise_std, gains)


def test_complex_slices_keep_their_phase(protocol):
    slices = procedural_slices("test", 1, 16, 0)
    batch = Measurer(protocol, complex_valued=True).evaluation(slices, 0)[0]
    real = Measurer(protocol).evaluation(slices, 0)[0]
    phase = torch.from_numpy(slices[0].phase)
    torch.testing.assert_close(batch.tsmi, real.tsmi * torch.polar(torch.ones_like(phase), phase))
    assert batch.adjoint.is_complex() and not real.adjoint.is_complex()


def test_published_cartesian_masks_measure_a_slice():
    protocol = Protocol(
        ProtocolOptions(
            schedule="ramp:12", rank=4, grid=(12, 12), image_size=16, trajectory="gridded_spiral", samples=30
        )
    )
    measurer = Measurer(protocol, noise=0.01, relative_noise=False)
    batch = measurer.measure(measurer.training(procedural_slices("train", 2, 16, 0)))
    assert batch.adjoint.shape == (2, 4, 16, 16) and float(batch.noise_std[0]) == pytest.approx(0.01)
    whole = measurer.evaluation(procedural_slices("test", 1, 16, 0), 0)[0]
    assert whole.kspace.shape == (1, protocol.num_samples)


# Map folders --------------------------------------------------------------------------------------------------------------


def _write_subject(path, seed, **changes):
    head = head_phantom(24, np.random.default_rng(seed))
    t1, t2, density = head.maps
    np.savez(path, **{"T1": 1000 * t1, "T2": 1000 * t2, "PD": 50 * density, "unit_t": "ms", **changes})


def test_folders_are_split_by_subject(tmp_path):
    for number in range(5):
        head = head_phantom(24, np.random.default_rng(number))
        stack = np.stack([head.maps, head.maps[:, ::-1]])
        arrays = {name: stack[:, place] for place, name in enumerate(NAMES)}
        np.savez(tmp_path / f"subject{number}.npz", **arrays, unit_t="s")
    slices = map_folder_slices(tmp_path, 16, None, True, 0, 1, 2, variants=2)
    subjects = {split: {one.subject for one in own} for split, own in slices.items()}
    assert not subjects["train"] & subjects["test"] and not subjects["val"] & subjects["test"]
    assert [len(slices[split]) for split in ("train", "val", "test")] == [2 * 2 * 3, 2, 4]


def test_maps_are_cropped_or_resampled_and_scaled(tmp_path):
    _write_subject(tmp_path / "a.npz", 0)
    cropped, resampled = (read_slices(tmp_path / "a.npz", 16, None, flag)[0] for flag in (False, True))
    head = head_phantom(24, np.random.default_rng(0))
    inside = cropped.mask
    np.testing.assert_allclose(cropped.maps[0][inside], head.maps[0, 4:20, 4:20][inside], rtol=1e-5)
    assert cropped.mask.mean() > resampled.mask.mean() > 0.2
    assert abs(np.quantile(resampled.maps[2][resampled.mask], 0.995) - 1) < 0.1
    assert (resampled.maps[1] <= resampled.maps[0]).all()


@pytest.mark.parametrize(
    ("changes", "unit", "said"),
    [
        ({"unit_t": np.array("")}, None, "unit"),
        ({}, "s", "ms"),
        ({"PD": np.zeros((24, 24))}, None, "mask|voxel"),
    ],
)
def test_mistakes_in_maps_are_named(tmp_path, changes, unit, said):
    _write_subject(tmp_path / "a.npz", 0, **changes)
    with pytest.raises(UserError, match=said):
        read_slices(tmp_path / "a.npz", 16, unit)


def test_nan_outside_the_head_is_background(tmp_path):
    head = head_phantom(16, np.random.default_rng(0))
    t1, t2, density = np.where(head.mask, head.maps, np.nan)
    np.savez(tmp_path / "a.npz", T1=t1, T2=t2, PD=density, unit_t="s")
    one = read_slices(tmp_path / "a.npz", 16)[0]
    assert np.isfinite(one.maps).all() and (one.maps[:, ~head.mask] == 0).all()


@pytest.mark.parametrize(
    ("prepare", "said"),
    [
        (lambda folder: None, "no .npz or .mat maps"),
        (lambda folder: _write_subject(folder / "a.npz", 0), "none is left to train on"),
    ],
)
def test_folders_that_cannot_be_split_are_named(tmp_path, prepare, said):
    prepare(tmp_path)
    with pytest.raises(UserError, match=said):
        map_folder_slices(tmp_path, 16, None, True, 0, 1, 1)


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match=r"nowhere not found: data.root is a folder"):
        map_folder_slices(tmp_path / "nowhere", 16, None, True, 0, 1, 1)
