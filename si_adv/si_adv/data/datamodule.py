"""``PointCloudDataModule``: training, validation and test clouds of any data set, reproducible to the batch."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch
from pytorch_lightning import LightningDataModule
from torch.utils.data import DataLoader, Dataset, Subset

from shared_utils import UserError, distributed
from shared_utils.loading import EpochSampler
from si_adv.data.augmentation import Augmentation
from si_adv.data.dataset import DEFAULT_CACHE, CachedDataset, CloudDataset
from si_adv.data.layouts import open_dataset
from si_adv.data.procedural import ProceduralShapes
from si_adv.data.sample import SPLITS, Sample

Split = CloudDataset | ProceduralShapes
"""The clouds of one split, as ``open_dataset`` gives them."""


def split_off(labels: np.ndarray, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two disjoint sorted sets of indices that cover ``labels``: the rest, and ``fraction`` of every class (at least one).

    A class with a single cloud stays in the rest.
    """
    rng = np.random.default_rng(seed)
    held = []
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        held.append(members[: min(max(1, round(fraction * len(members))), len(members) - 1)])
    held = np.sort(np.concatenate(held))
    return np.setdiff1d(np.arange(len(labels)), held), held


class TrainingClouds(Dataset[Sample]):
    """Clouds as training sees them: ``points_per_step`` random points of each (``None``: all), then augmentation.

    Indexed by (epoch, index), as ``EpochSampler`` gives them.
    """

    def __init__(
        self,
        dataset: Split | Subset[Sample],
        points_per_step: int | None,
        augmentation: Augmentation | None,
        seed: int,
    ) -> None:
        self.dataset, self.points_per_step, self.augmentation, self.seed = dataset, points_per_step, augmentation, seed

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, place: tuple[int, int]) -> Sample:
        epoch, index = place
        sample = self.dataset[index]
        points, normals = sample.points.numpy(), sample.normals.numpy()
        rng = np.random.default_rng((self.seed, epoch, index))
        if self.points_per_step is not None:
            rows = rng.choice(len(points), self.points_per_step, replace=False, shuffle=False)
            points, normals = points[rows], normals[rows] if len(normals) else normals
        if self.augmentation is not None:
            points, normals = self.augmentation(points, normals, rng)
        return sample._replace(points=torch.from_numpy(points), normals=torch.from_numpy(normals))


class PointCloudDataModule(LightningDataModule):
    """Batches of ``Sample`` for training, validation and test.

    A corrupt cloud is named, counted and skipped in training, and an error in evaluation.

    Args:
        root: a data set in any layout of ``si_adv.data.layouts``; None: the embedded procedural shapes.
        num_points: points of a cloud, in evaluation all used.
        points_per_step: random points of them that a training step uses.
        batch_size: clouds of a training batch.
        eval_batch_size: of validation and test; as in training where None.
        num_workers: processes that read.
        with_normals: whether the victim takes normals; otherwise none are read, nor estimated.
        augmentation: of training clouds; None for none.
        val_fraction: share of every class held out for validation where the layout has no such split; the test split is
            never validated on.
        procedural_sizes: clouds for training, validation and test of the embedded set.
        seed: of order, subsets, augmentation and of whatever is drawn to make the clouds.
        allow_upsample: repeat the points of smaller clouds.
        cache_dir: where slow layouts are kept parsed; None: nowhere.
    """

    def __init__(
        self,
        root: str | None = None,
        num_points: int = 1024,
        points_per_step: int | None = None,
        batch_size: int = 32,
        eval_batch_size: int | None = None,
        num_workers: int = 0,
        with_normals: bool = False,
        augmentation: Augmentation | None = None,
        val_fraction: float = 0.1,
        procedural_sizes: tuple[int, int, int] = (2000, 200, 500),
        seed: int = 0,
        allow_upsample: bool = False,
        cache_dir: str | None = DEFAULT_CACHE,
    ) -> None:
        super().__init__()
        if points_per_step is not None and not 0 < points_per_step <= num_points:
            raise UserError(f"points_per_step must lie in 1..num_points ({num_points}), got {points_per_step}")
        if not 0 < val_fraction < 1:
            raise UserError(f"val_fraction must lie between 0 and 1, got {val_fraction}")
        self.root, self.num_points, self.points_per_step = root, num_points, points_per_step
        self.batch_size, self.eval_batch_size = batch_size, eval_batch_size or batch_size
        self.num_workers, self.with_normals, self.augmentation = num_workers, with_normals, augmentation
        self.val_fraction, self.procedural_sizes, self.seed = val_fraction, tuple(procedural_sizes), seed
        self.allow_upsample, self.cache_dir = allow_upsample, cache_dir

    def _dataset(self, split: str, skip_corrupt: bool = False) -> Split:
        size = self.procedural_sizes[SPLITS.index(split)]
        return open_dataset(
            self.root,
            split,
            self.num_points,
            normals=self.with_normals,
            seed=self.seed,
            allow_upsample=self.allow_upsample,
            skip_corrupt=skip_corrupt,
            cache_dir=self.cache_dir,
            procedural_size=size,
        )

    @cached_property
    def _train(self) -> Split:
        return self._dataset("train", skip_corrupt=True)

    @cached_property
    def _test(self) -> Split:
        return self._dataset("test")

    @cached_property
    def _fit(self) -> tuple[Split | Subset[Sample], Split | Subset[Sample]]:
        if "val" in self._train.splits:
            return self._train, self._dataset("val")
        rest, held = split_off(self._train.labels, self.val_fraction, self.seed)
        return Subset(self._train, rest.tolist()), Subset(self._dataset("train"), held.tolist())

    @property
    def class_names(self) -> tuple[str, ...]:
        """Class names in the order of the labels; known before ``setup``."""
        return tuple(self._train.class_names)

    @property
    def num_classes(self) -> int:
        """Known before ``setup``."""
        return len(self.class_names)

    def prepare_data(self) -> None:
        """Parse slow layouts into the cache, once a node."""
        self._attach_caches(None if self.trainer is None else self.trainer.state.fn)

    def setup(self, stage: str | None = None) -> None:
        self._attach_caches(stage)

    def _attach_caches(self, stage: str | None) -> None:
        datasets = [self._test] if stage == "test" else [*self._fit]
        for dataset in datasets:
            dataset = dataset.dataset if isinstance(dataset, Subset) else dataset
            if isinstance(dataset, CachedDataset):
                dataset.build_cache()

    def train_dataloader(self) -> DataLoader:
        clouds = TrainingClouds(self._fit[0], self.points_per_step, self.augmentation, self.seed)
        # Batch norm wants no batch of one; a data set smaller than a batch has nothing else.
        drop_last = len(clouds) > self.batch_size
        sampler = EpochSampler(
            clouds, distributed.world_size(), distributed.rank(), shuffle=True, seed=self.seed, drop_last=drop_last
        )
        return self._loader(clouds, self.batch_size, sampler=sampler, drop_last=drop_last)

    def val_dataloader(self) -> DataLoader:
        return self._loader(self._fit[1], self.eval_batch_size)

    def test_dataloader(self) -> DataLoader:
        return self._loader(self._test, self.eval_batch_size)

    def _loader(self, dataset: Dataset, batch_size: int, **options) -> DataLoader:
        return DataLoader(
            dataset,
            batch_size,
            num_workers=self.num_workers,
            pin_memory=torch.cuda.is_available(),
            persistent_workers=self.num_workers > 0,
            **options,
        )
