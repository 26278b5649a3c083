"""Batches by their number since the training's beginning: the same whoever makes them, and wherever training goes on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import cv2
import torch
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from shared_utils import UserError, distributed


class Numbered(Dataset):
    """``batches[number]``: a batch, or the share of it that falls to this process.

    Args:
        batch_size: clips of a step, all processes together.
        per_epoch: batches of an epoch.
    """

    def __init__(self, batch_size: int, per_epoch: int) -> None:
        if per_epoch < 1:
            raise UserError(f"there are too few videos for a batch of {batch_size}: lower data.batch_size")
        self.batch_size, self.per_epoch = batch_size, per_epoch

    def __len__(self) -> int:
        return self.per_epoch

    def own(self) -> slice:
        """The part of a batch that falls to this process."""
        processes = distributed.world_size()
        if self.batch_size % processes:
            raise UserError(f"a batch of {self.batch_size} clips cannot be shared by {processes} processes")
        size = self.batch_size // processes
        return slice(distributed.rank() * size, (distributed.rank() + 1) * size)

    def __getitem__(self, number: int) -> Any:
        raise NotImplementedError


class _Numbers(DistributedSampler):
    """The numbers of an epoch's batches, the same for all processes; ``begun`` is where a resumed epoch goes on.

    A ``DistributedSampler``, so that the trainer puts none of its own in its place: a process takes its share of each batch.
    """

    def __init__(self, batches: Numbered) -> None:
        super().__init__(batches, 1, 0, shuffle=False)
        self.per_epoch, self.begun = len(batches), 0

    def __iter__(self) -> Iterator[int]:
        start = self.epoch * self.per_epoch
        return iter(range(start + self.begun, start + self.per_epoch))

    def __len__(self) -> int:
        return self.per_epoch


class NumberedLoader(DataLoader):
    """Batches in the order of their numbers; a training that stopped within an epoch goes on with the next one.

    The trainer keeps ``state_dict`` in its checkpoints. Workers draw nothing of their own.
    """

    def __init__(self, batches: Numbered, num_workers: int = 0) -> None:
        super().__init__(
            batches,
            batch_size=None,
            sampler=_Numbers(batches),
            num_workers=num_workers,
            pin_memory=torch.cuda.is_available(),
            # An iterator draws a seed for its workers; from a generator of its own, it leaves that of the training alone.
            generator=torch.Generator(),
            worker_init_fn=_one_thread,
        )
        self._given, self._resume = 0, (-1, 0)

    @property
    def numbers(self) -> _Numbers:
        """The sampler."""
        assert isinstance(self.sampler, _Numbers)
        return self.sampler

    def __iter__(self) -> Iterator[Any]:  # pyright: ignore[reportIncompatibleMethodOverride]
        epoch, given = self._resume
        self.numbers.begun = self._given = given if epoch == self.numbers.epoch else 0
        self._resume = (-1, 0)
        for batch in super().__iter__():
            self._given += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        """How many batches of which epoch have been given."""
        return {"epoch": self.numbers.epoch, "batches": self._given}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Begin that epoch, if it is the next one, behind them."""
        self._resume = (state["epoch"], state["batches"])


class Resumable:
    """What a data module keeps of its training loader.

    The trainer gives loaders their state back too, but only to those that are made after it has read the checkpoint; a
    schedule that asks for the number of steps has them made before.
    """

    _loader: NumberedLoader | None = None
    _position: dict[str, int] | None = None

    def _load(self, batches: Numbered, num_workers: int) -> NumberedLoader:
        self._loader = NumberedLoader(batches, num_workers)
        if self._position is not None:
            self._loader.load_state_dict(self._position)
        return self._loader

    def state_dict(self) -> dict[str, Any]:
        return {} if self._loader is None else self._loader.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._position = state_dict or None
        if self._loader is not None and self._position is not None:
            self._loader.load_state_dict(self._position)


class RankShare(DistributedSampler):
    """Every row once, over all processes; nothing is repeated to make shares equal."""

    def __init__(self, count: int) -> None:
        super().__init__(range(count), distributed.world_size(), distributed.rank(), shuffle=False)  # pyright: ignore[reportArgumentType]
        self.rows = range(self.rank, count, self.num_replicas)

    def __iter__(self):
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)


def _one_thread(worker: int) -> None:
    """Workers are processes enough: OpenCV's threads in each would wait for each other."""
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
