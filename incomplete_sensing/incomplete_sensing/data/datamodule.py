"""``MeasurementDataModule``: batches of (y, g) for training, of (y, g, x) for evaluation."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pytorch_lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, DistributedSampler, Subset

from incomplete_sensing.data.images import ComplexImages, ImageSource
from incomplete_sensing.data.layouts import Images, Layout, detect_layout, open_images
from incomplete_sensing.data.measurements import (
    SimulatedMeasurements,
    StoredMeasurements,
    assign_operators,
    read_measurements,
)
from incomplete_sensing.noise import Noise
from incomplete_sensing.operators import OperatorFamily, OperatorOptions, draw_operators, read_operators
from shared_utils import UserError, distributed

log = logging.getLogger(__name__)


class BatchOrder(DistributedSampler):
    """Lists of items, a batch each, in an order that follows from (seed, epoch); this process's share of them.

    mixed: batches of one random permutation. one_operator: the operators in random order, all batches of one, then the
    next, as published, so that batch norm sees one operator at a time.
    """

    def __init__(
        self, g: Tensor, batch_size: int, order: Literal["mixed", "one_operator"], seed: int, drop_last: bool = False
    ) -> None:
        super().__init__(g, distributed.world_size(), distributed.rank(), shuffle=True, seed=seed)
        self.g, self.size, self.order, self.drop_small = g, batch_size, order, drop_last

    def _batches(self) -> list[list[int]]:
        rng = np.random.default_rng((self.seed, 3, self.epoch))
        groups = [np.arange(len(self.g))]
        if self.order == "one_operator":
            g = self.g.numpy()
            groups = [np.flatnonzero(g == operator) for operator in rng.permutation(np.unique(g))]
        batches = []
        for group in groups:
            shuffled = rng.permutation(group).tolist()
            batches += [shuffled[start : start + self.size] for start in range(0, len(shuffled), self.size)]
        whole = [batch for batch in batches if len(batch) == self.size]
        return whole if self.drop_small and whole else batches

    def __iter__(self) -> Iterator[list[int]]:
        batches = self._batches()
        # Every process takes as many steps as the others: what is missing is taken from the front once more.
        missing = -len(batches) % self.num_replicas
        yield from (batches + batches[:missing])[self.rank :: self.num_replicas]

    def __len__(self) -> int:
        return -(-len(self._batches()) // self.num_replicas)


class MeasurementDataModule(LightningDataModule):
    """Measurements of images through a family of operators, or measurements that are on disk already.

    root: the data, in any layout of the README; None: the embedded digits. layout: found out where "auto". operators:
    which operators (on disk, measurements bring their own: ``operators.npz``). noise_sigma, noise_gain: of the
    measurements, see ``Noise``. batch_size, batches: see ``BatchOrder``; drop_last: without the smaller last batch.
    truth: whether training batches hold the truth; only supervised training may have it. val_fraction: share of the
    training items held out to measure the training loss on. model_dimension: k, an estimate of the model's dimension for
    the verdict before training. image_size: centre crop; halve: average 2 x 2 pixels after it (EI's Urban100); grey:
    convert. seed: of the splits, the operators, the noise and the order. num_train, num_test: use at most so many.
    """

    def __init__(
        self,
        root: str | None = None,
        layout: Layout = "auto",
        operators: OperatorOptions = OperatorOptions(),  # noqa: B008 (never changed)
        noise_sigma: float = 0.0,
        noise_gain: float = 0.0,
        batch_size: int = 128,
        batches: Literal["mixed", "one_operator"] = "mixed",
        drop_last: bool = False,
        eval_batch_size: int = 256,
        truth: bool = False,
        val_fraction: float = 0.0,
        model_dimension: float | None = None,
        image_size: int | None = None,
        halve: bool = False,
        grey: bool = False,
        seed: int = 0,
        num_train: int | None = None,
        num_test: int | None = None,
        num_workers: int = 0,
    ) -> None:
        super().__init__()
        if batch_size < 1 or eval_batch_size < 1:
            raise UserError("batch sizes must be at least 1")
        if not 0 <= val_fraction < 1:
            raise UserError(f"val_fraction must lie in [0, 1), got {val_fraction}")
        options = {key: value for key, value in locals().items() if key not in ("self", "__class__")}
        options["operators"] = asdict(operators)
        self.options: dict[str, Any] = options
        self.root, self.layout, self.operator_options = root, layout, operators
        self.noise = Noise(noise_sigma, noise_gain)
        self.noise_sigma, self.noise_gain = noise_sigma, noise_gain
        self.batch_size, self.batches, self.drop_last = batch_size, batches, drop_last
        self.eval_batch_size, self.truth, self.val_fraction = eval_batch_size, truth, val_fraction
        self.model_dimension = model_dimension
        self.image_size, self.halve, self.grey = image_size, halve, grey
        self.seed, self.num_train, self.num_test, self.num_workers = seed, num_train, num_test, num_workers

    @classmethod
    def from_options(cls, options: dict[str, Any], **changes: Any) -> MeasurementDataModule:
        """The module that a checkpoint's ``data`` describes, with some arguments changed."""
        options = {**options, **changes}
        if isinstance(options["operators"], dict):
            options["operators"] = OperatorOptions(**options["operators"])
        return cls(**options)

    # What there is ----------------------------------------------------------------------------------------------------

    @cached_property
    def measured(self) -> bool:
        """Whether the data are measurements already."""
        if self.root is None:
            return False
        return self.layout == "measurements" or (
            self.layout == "auto" and detect_layout(Path(self.root)) == "measurements"
        )

    def _measured_file(self, name: str) -> Path:
        root = Path(self.root)
        return root if root.is_file() else root / name

    @cached_property
    def images(self) -> Images:
        images = open_images(self.root, self.layout, self.image_size, self.halve, self.grey, self.seed)
        if self.operator_options.kind == "mri" and images.train.shape[0] == 1:
            images = Images(ComplexImages(images.train), ComplexImages(images.test))
        return images

    @cached_property
    def family(self) -> OperatorFamily:
        """The operators."""
        if self.measured:
            stored = Path(self.root) / "operators.npz"
            path = self.operator_options.path or (stored if stored.is_file() else None)
            if path is None:
                raise UserError(
                    f"{stored} not found: measurements need their operators there, or in data.operators.path"
                )
            return read_operators(path)
        return draw_operators(self.operator_options, self.images.train.shape, self.seed)

    def _limited(self, count: int, limit: int | None, seed: int) -> Tensor:
        """Numbers of ``count`` items, or of ``limit`` random ones."""
        if limit is None or limit >= count:
            return torch.arange(count)
        return torch.from_numpy(np.sort(np.random.default_rng((self.seed, seed)).permutation(count)[:limit]))

    def dataset(self, split: Literal["train", "test"], truth: bool, family: OperatorFamily | None = None) -> Dataset:
        """The measurements of a split; ``family``: through other operators than the training ones."""
        training = split == "train"
        if self.measured:
            arrays = read_measurements(self._measured_file(f"{split}.npz"), self.family)
            if truth and training and arrays.images is None:
                raise UserError(f"{self._measured_file('train.npz')} has no x: supervised training needs the truth")
            return StoredMeasurements(*arrays, truth=truth)
        source: ImageSource = self.images.train if training else self.images.test
        family = family or self.family
        numbers = self._limited(len(source), self.num_train if training else self.num_test, 4 + training)
        g = assign_operators(len(numbers), family.num_operators, self.seed if training else self.seed + 1)
        return SimulatedMeasurements(source, numbers, g, family, self.noise, self.seed, truth, skip_corrupt=training)

    @cached_property
    def _fit(self) -> tuple[Dataset, Dataset | None, Tensor]:
        """(training, held-out, g of the training items)."""
        dataset = self.dataset("train", self.truth)
        held = round(self.val_fraction * len(dataset))
        if not held:
            return dataset, None, dataset.g
        order = torch.from_numpy(np.random.default_rng((self.seed, 6)).permutation(len(dataset)))
        rows, kept = order[:held].sort().values, order[held:].sort().values
        return _Rows(dataset, kept), _Rows(dataset, rows), dataset.g[kept]

    @cached_property
    def _test(self) -> Dataset:
        return self.dataset("test", truth=True)

    # Lightning ----------------------------------------------------------------------------------------------------------

    def train_dataloader(self) -> DataLoader:
        dataset, _, g = self._fit
        order = BatchOrder(g, self.batch_size, self.batches, self.seed, self.drop_last)
        return self._loader(dataset, sampler=order)

    def val_dataloader(self) -> DataLoader | list:
        if self._fit[1] is None:
            # Lightning takes an empty list for no validation, and asks whether it was meant.
            warnings.filterwarnings("ignore", message=".*across ranks is zero.*")
            return []
        return self._loader(self._fit[1], sampler=self._in_order(self._fit[1]))

    def test_dataloader(self) -> DataLoader:
        return self._loader(self._test, sampler=self._in_order(self._test))

    def _in_order(self, dataset: Dataset) -> list[list[int]]:
        return [rows.tolist() for rows in torch.arange(len(dataset)).split(self.eval_batch_size)]

    def _loader(self, dataset: Dataset, **options: Any) -> DataLoader:
        # The data set is indexed by whole batches, so the loader neither batches nor collates.
        return DataLoader(
            dataset,
            batch_size=None,
            num_workers=self.num_workers,
            pin_memory=torch.cuda.is_available(),
            persistent_workers=self.num_workers > 0,
            **options,
        )


class _Rows(Subset):
    """Some rows of a data set that is indexed by lists."""

    def __getitem__(self, rows: list[int]) -> Any:
        return self.dataset[self.indices[torch.as_tensor(rows)]]
