import numpy as np
import pytest
import torch
from pytorch_lightning import LightningModule, Trainer

from shared_utils import UserError
from shared_utils.loading import EpochSampler
from si_adv.data.augmentation import Augmentation
from si_adv.data.datamodule import PointCloudDataModule, split_off


def batches(epoch=0, **options):
    """The training batches of one epoch of a small procedural data module."""
    data = PointCloudDataModule(
        **{
            "num_points": 64,
            "batch_size": 8,
            "procedural_sizes": (40, 10, 10),
            "augmentation": Augmentation(),
            **options,
        }
    )
    data.setup("fit")
    loader = data.train_dataloader()
    loader.sampler.set_epoch(epoch)
    return list(loader)


def same(first, second):
    return len(first) == len(second) and all(
        torch.equal(a.points, b.points) and torch.equal(a.normals, b.normals) and a.name == b.name
        for a, b in zip(first, second, strict=True)
    )


@pytest.fixture
def packed(tmp_path):
    path = tmp_path / "packed.npz"
    rng = np.random.default_rng(0)
    points, labels = rng.standard_normal((30, 40, 3)), np.repeat(np.arange(3), 10)
    arrays = {
        f"{split}_{key}": value for split in ("train", "test") for key, value in (("points", points), ("label", labels))
    }
    np.savez(path, class_names=np.array(["a", "b", "c"]), **arrays)
    return path


def test_classes_are_known_before_setup(packed):
    assert PointCloudDataModule().num_classes == 10 and PointCloudDataModule().class_names[3] == "chair"
    data = PointCloudDataModule(str(packed), num_points=32)
    assert data.num_classes == 3 and data.class_names == ("a", "b", "c")


def test_batches_have_the_fields_and_shapes_of_samples():
    first = batches(points_per_step=16)[0]
    assert first.points.shape == first.normals.shape == (8, 16, 3)
    assert first.points.dtype == first.normals.dtype == torch.float32
    assert first.label.dtype == torch.int64 and len(first.name) == 8


def test_an_epoch_is_reproducible_and_another_one_is_not():
    assert same(batches(epoch=3, points_per_step=16), batches(epoch=3, points_per_step=16))
    assert not same(batches(epoch=3, points_per_step=16), batches(epoch=4, points_per_step=16))
    assert not same(batches(epoch=3), batches(epoch=3, seed=1))


def test_workers_change_nothing():
    assert same(batches(epoch=2, points_per_step=16), batches(epoch=2, points_per_step=16, num_workers=2))


def test_augmentation_differs_from_epoch_to_epoch():
    def cloud(epoch):
        pairs = (
            (name, points) for batch in batches(epoch) for name, points in zip(batch.name, batch.points, strict=True)
        )
        return dict(pairs)["lamp_00005"]

    assert not torch.allclose(cloud(0), cloud(1))
    plain = dict(zip(batches(augmentation=None)[0].name, batches(augmentation=None)[0].points, strict=True))
    assert all(points.norm(dim=1).max() == pytest.approx(1, abs=1e-5) for points in plain.values())


def test_every_cloud_comes_once_an_epoch_and_validation_is_apart(packed):
    data = PointCloudDataModule(str(packed), num_points=32, batch_size=9, val_fraction=0.1)
    data.setup("fit")
    training = [name for batch in data.train_dataloader() for name in batch.name]
    validation = [name for batch in data.val_dataloader() for name in batch.name]
    assert len(set(training)) == len(training) == 27 and len(set(validation)) == 3
    assert not set(training) & set(validation)
    assert sorted(label.item() for batch in data.val_dataloader() for label in batch.label) == [0, 1, 2]
    assert sum(len(batch.label) for batch in data.test_dataloader()) == 30


def test_two_processes_share_the_epoch_of_one():
    def epoch(replicas, rank):
        sampler = EpochSampler(range(20), replicas, rank, seed=3)
        sampler.set_epoch(5)
        return list(sampler)

    one, first, second = epoch(1, 0), epoch(2, 0), epoch(2, 1)
    assert one == [pair for pairs in zip(first, second, strict=True) for pair in pairs]
    assert sorted(one) == [(5, index) for index in range(20)]


def test_evaluation_sees_all_points_unchanged():
    data = PointCloudDataModule(
        num_points=64, points_per_step=16, augmentation=Augmentation(), procedural_sizes=(20, 10, 10)
    )
    data.setup("fit")
    batch = next(iter(data.val_dataloader()))
    assert batch.points.shape[1] == 64
    assert batch.points.norm(dim=2).amax(1).numpy() == pytest.approx(1, abs=1e-5)


def test_split_off_is_stratified_and_covers_everything():
    labels = np.repeat([0, 1, 2], [50, 20, 1])
    rest, held = split_off(labels, 0.1, seed=0)
    assert sorted([*rest, *held]) == list(range(71))
    assert np.bincount(labels[held], minlength=3).tolist() == [5, 2, 0]
    assert not np.array_equal(held, split_off(labels, 0.1, seed=1)[1])


class Recorder(LightningModule):
    """Trains one number and keeps the names and sums of the batches that it was given."""

    def __init__(self):
        super().__init__()
        self.weight, self.seen = torch.nn.Parameter(torch.zeros(())), []

    def training_step(self, batch, index):
        self.seen.append((self.current_epoch, batch.name, batch.points.sum().item()))
        return self.weight * batch.points.sum()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 1e-3)


def test_a_resumed_run_gets_the_batches_of_an_uninterrupted_one(tmp_path):
    def run(epochs, checkpoint=None):
        module, options = Recorder(), {"accelerator": "cpu", "logger": False, "enable_progress_bar": False}
        trainer = Trainer(max_epochs=epochs, enable_model_summary=False, default_root_dir=tmp_path, **options)
        data = PointCloudDataModule(
            num_points=32, batch_size=5, procedural_sizes=(20, 10, 10), augmentation=Augmentation(), points_per_step=8
        )
        trainer.fit(module, data, ckpt_path=checkpoint, weights_only=None if checkpoint is None else True)
        trainer.save_checkpoint(tmp_path / "last.ckpt")
        return module.seen

    whole = run(3)
    first = run(1)
    rest = run(3, tmp_path / "last.ckpt")
    assert whole == first + rest
    assert len({tuple(names) for _, names, _ in whole}) == len(whole) == 12


def test_impossible_arguments_are_named():
    with pytest.raises(UserError, match=r"points_per_step must lie in .*64.*got 65"):
        PointCloudDataModule(num_points=64, points_per_step=65)
    with pytest.raises(UserError, match="val_fraction"):
        PointCloudDataModule(val_fraction=0.0)
    with pytest.raises(UserError, match="nowhere not found"):
        PointCloudDataModule("nowhere").num_classes  # noqa: B018


# Augmentation ---------------------------------------------------------------------------------------------------------

POINTS = np.random.default_rng(0).standard_normal((200, 3)).astype(np.float32)
NORMALS = (POINTS / np.linalg.norm(POINTS, axis=1, keepdims=True)).astype(np.float32)


def test_augmentation_is_a_scale_and_a_shift_within_their_ranges():
    factors = []
    for seed in range(200):
        moved, normals = Augmentation()(POINTS, NORMALS, np.random.default_rng(seed))
        factor = np.ptp(moved[:, 0]) / np.ptp(POINTS[:, 0])
        shift = moved[0] - factor * POINTS[0]
        np.testing.assert_allclose(moved, POINTS * factor + shift, atol=1e-4)
        assert np.abs(shift).max() <= 0.1 + 1e-4 and moved.dtype == np.float32
        np.testing.assert_array_equal(normals, NORMALS)
        factors.append(factor)
    assert 0.8 <= min(factors) < 0.83 and 1.22 < max(factors) <= 1.25 + 1e-6


def test_anisotropic_scales_keep_normals_at_right_angles_to_the_surface():
    # Points of a plane stay a plane, and its normal must follow.
    normal = np.array([1.0, 2.0, 2.0]) / 3
    plane = (POINTS - np.outer(POINTS @ normal, normal)).astype(np.float32)
    normals = np.tile(normal, (200, 1)).astype(np.float32)
    augmentation = Augmentation(scale=(0.5, 2.0), anisotropic=True, shift=0.0)
    moved, turned = augmentation(plane, normals, np.random.default_rng(1))
    np.testing.assert_allclose((moved * turned).sum(1), 0, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(turned, axis=1), 1, atol=1e-6)
    assert np.abs(turned[0] - normal).max() > 0.05


def test_dropped_points_become_the_first_and_keep_the_count():
    augmentation = Augmentation(scale=(1.0, 1.0), shift=0.0, dropout=0.875)
    shares = []
    for seed in range(100):
        moved, normals = augmentation(POINTS, NORMALS, np.random.default_rng(seed))
        dropped = (moved != POINTS).any(1)
        assert (moved[dropped] == POINTS[0]).all() and (normals[dropped] == NORMALS[0]).all()
        np.testing.assert_array_equal(normals[~dropped], NORMALS[~dropped])
        shares.append(dropped.mean())
    assert max(shares) < 0.95 and np.mean(shares) == pytest.approx(0.875 / 2, abs=0.1)


def test_augmentation_leaves_its_arguments_alone():
    points, normals = POINTS.copy(), NORMALS.copy()
    Augmentation(anisotropic=True, dropout=0.5)(points, normals, np.random.default_rng(0))
    np.testing.assert_array_equal(points, POINTS)
    np.testing.assert_array_equal(normals, NORMALS)


def test_impossible_augmentation_is_named():
    with pytest.raises(UserError, match="scale"):
        Augmentation(scale=(1.2, 0.8))
    with pytest.raises(UserError, match="dropout"):
        Augmentation(dropout=1.0)
