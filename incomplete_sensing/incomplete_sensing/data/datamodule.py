"""``MeasurementDataModule``: batches of (y, g) for training, of (y, g, x) for evaluation."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import cached_property
from typing import Any, Literal, cast

import numpy as np
import torch
from pytorch_lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from incomplete_sensing.data.layouts import Layout
from incomplete_sensing.data.measurements import Batch, Measurements
from incomplete_sensing.data.problem import Problem
from incomplete_sensing.operators import OperatorFamily, OperatorOptions
from shared_utils import UserError, distributed


class BatchOrder(DistributedSampler):
    """Lists of items, a batch each, in an order that follows from (seed, epoch); this process's share of them.

    mixed: batches of one random permutation. one_operator: the operators in random order, all batches of one, then the
    next, as published, so that batch norm sees one operator at a time.
    """

    def __init__(
        self, g: Tensor, batch_size: int, order: Literal["mixed", "one_operator"], seed: int, drop_last: bool = False
    ) -> None:
        # It asks the data set for its length alone, which g has too.
        super().__init__(cast(Dataset, g), distributed.world_size(), distributed.rank(), shuffle=True, seed=seed)
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
    """Batches of measurements: of images through a family of operators, or of measurements that are on disk already.

    root, layout, operators, noise_sigma, noise_gain, image_size, halve, grey, seed, num_train, num_test: what is
    measured, see ``Problem``; the seed also gives the order of the batches. batch_size, batches: see ``BatchOrder``;
    drop_last: without smaller batches. truth: whether training batches hold the truth; only supervised training may have
    it. val_fraction: share of the training items held out to measure the training loss on. model_dimension: k, an
    estimate of the model's dimension for the verdict before training.
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
        self.options: dict[str, Any] = {**options, "operators": asdict(operators)}
        self.problem = Problem(
            root, layout, operators, noise_sigma, noise_gain, image_size, halve, grey, seed, num_train, num_test
        )
        self.batches: Literal["mixed", "one_operator"] = batches
        self.batch_size, self.drop_last = batch_size, drop_last
        self.eval_batch_size, self.truth, self.val_fraction = eval_batch_size, truth, val_fraction
        # What links pass on to the module.
        self.noise_sigma, self.noise_gain, self.model_dimension = noise_sigma, noise_gain, model_dimension
        self.seed, self.num_workers = seed, num_workers

    def like(self, **changes: Any) -> MeasurementDataModule:
        """The same module with some arguments changed."""
        options = {**self.options, "operators": OperatorOptions(**self.options["operators"]), **changes}
        return MeasurementDataModule(**options)

    @property
    def family(self) -> OperatorFamily:
        """The operators; known before ``setup``."""
        return self.problem.family

    @cached_property
    def _fit(self) -> tuple[Measurements, Measurements | None, Tensor]:
        """(training, held-out, g of the training items)."""
        dataset = self.problem.dataset("train", self.truth)
        held = round(self.val_fraction * len(dataset))
        if not held:
            return dataset, None, dataset.g
        order = torch.from_numpy(np.random.default_rng((self.seed, 6)).permutation(len(dataset)))
        rows, kept = order[:held].sort().values, order[held:].sort().values
        return _Rows(dataset, kept), _Rows(dataset, rows), dataset.g[kept]

    @cached_property
    def _test(self) -> Measurements:
        return self.problem.dataset("test", truth=True)

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

    def _in_order(self, dataset: Measurements) -> list[list[int]]:
        return [rows.tolist() for rows in torch.arange(len(dataset)).split(self.eval_batch_size)]

    def _loader(self, dataset: Measurements, **options: Any) -> DataLoader:
        # The data set is indexed by whole batches, so the loader neither batches nor collates.
        return DataLoader(
            dataset,
            batch_size=None,
            num_workers=self.num_workers,
            pin_memory=torch.cuda.is_available(),
            persistent_workers=self.num_workers > 0,
            **options,
        )


class _Rows(Measurements):
    """Some rows of a data set."""

    def __init__(self, dataset: Measurements, rows: Tensor) -> None:
        self.dataset, self.rows, self.g = dataset, rows, dataset.g[rows]

    def __getitem__(self, rows: Sequence[int] | Tensor) -> Batch:
        return self.dataset[self.rows[torch.as_tensor(rows)]]
