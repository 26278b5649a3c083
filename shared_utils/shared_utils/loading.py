"""Loaders whose batches are the same whoever makes them, and that go on where a checkpoint was. Imported only to train."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from shared_utils import distributed


class EpochSampler(DistributedSampler):
    """This process's share of a data set as pairs (epoch, index), in a fresh order every epoch where shuffled.

    The order follows from (seed, epoch) alone, and with the epoch the data set can draw augmentation and all else from
    (seed, epoch, index): a resumed run gets the batches that an uninterrupted one would have had.
    """

    def __iter__(self) -> Iterator[tuple[int, int]]:
        for index in super().__iter__():
            yield self.epoch, index


class RankShare(DistributedSampler):
    """Every one of ``count`` rows once, over all processes: what an evaluation goes through. Nothing is repeated to make
    shares equal."""

    def __init__(self, count: int) -> None:
        super().__init__(Count(count), distributed.world_size(), distributed.rank(), shuffle=False)
        self.rows = range(self.rank, count, self.num_replicas)

    def __iter__(self) -> Iterator[int]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)


class Count(Dataset):
    """A length, which is all that ``DistributedSampler`` wants of a data set."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count


class Order(DistributedSampler):
    """An order of batches that can begin within an epoch; what ``ResumableLoader`` takes.

    A ``DistributedSampler``, so that the trainer puts none of its own in its place.
    """

    start: int = 0
    """Batches at the front of an epoch that the next iteration leaves out."""


class Numbers(Order):
    """The numbers of an epoch's batches since the training's beginning, the same for all processes: each takes its share of
    every batch."""

    def __init__(self, per_epoch: int) -> None:
        super().__init__(Count(per_epoch), 1, 0, shuffle=False)
        self.per_epoch = per_epoch

    def __iter__(self) -> Iterator[int]:
        first = self.epoch * self.per_epoch
        return iter(range(first + self.start, first + self.per_epoch))

    def __len__(self) -> int:
        return self.per_epoch


class ResumableLoader(DataLoader):
    """Batches in an ``Order``; a training that stopped within an epoch goes on with the batch that it had come to.

    The trainer keeps ``state_dict`` in its checkpoints. Workers are started anew for every epoch and draw nothing of their own.

    Args:
        dataset: of samples, or of whole batches where ``batch_size`` is None.
        order: of them.
        batch_size: samples of a batch of this process.
        num_workers: processes that load.
    """

    def __init__(self, dataset: Dataset, order: Order, batch_size: int | None = None, num_workers: int = 0) -> None:
        super().__init__(
            dataset,
            batch_size,
            sampler=order,
            drop_last=batch_size is not None,
            num_workers=num_workers,
            pin_memory=torch.cuda.is_available(),
            # An iterator draws a seed for its workers; from a generator of its own, it leaves that of the training alone.
            generator=torch.Generator(),
            worker_init_fn=_one_thread,
        )
        self.order = order
        self._given, self._resume = 0, (-1, 0)

    def __iter__(self) -> Iterator[Any]:  # pyright: ignore[reportIncompatibleMethodOverride]
        epoch, given = self._resume
        self.order.start = self._given = given if epoch == self.order.epoch else 0
        self._resume = (-1, 0)
        for batch in super().__iter__():
            self._given += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        """How many batches of which epoch have been given."""
        return {"epoch": self.order.epoch, "batches": self._given}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Begin that epoch, if it is the next one, behind them."""
        self._resume = (state["epoch"], state["batches"])


class Resumable:
    """What a data module keeps of its training loader: a base class before ``LightningDataModule``.

    The trainer gives loaders their state back too, but only to those that are made after it has read the checkpoint; a
    schedule that asks for the number of steps has them made before.
    """

    _loader: ResumableLoader | None = None
    _position: dict[str, int] | None = None

    def resumed(self, loader: ResumableLoader) -> ResumableLoader:
        """The training's loader, at the batch where the training stopped."""
        self._loader = loader
        if self._position is not None:
            loader.load_state_dict(self._position)
        return loader

    def state_dict(self) -> dict[str, Any]:
        return {} if self._loader is None else self._loader.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._position = state_dict or None
        if self._loader is not None and self._position is not None:
            self._loader.load_state_dict(self._position)


def _one_thread(worker: int) -> None:
    """Workers are processes enough: the threads of each would wait for each other."""
    torch.set_num_threads(1)
    if "cv2" in sys.modules:
        sys.modules["cv2"].setNumThreads(0)
