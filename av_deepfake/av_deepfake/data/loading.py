"""Batches by their number since the training's beginning: the same whoever makes them, and wherever training goes on."""

from __future__ import annotations

from torch.utils.data import Dataset

from shared_utils import UserError, distributed
from shared_utils.loading import Numbers, ResumableLoader


class Numbered(Dataset):
    """``batches[number]``, of a subclass: a batch, or the share of it that falls to this process.

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

    def loader(self, num_workers: int = 0) -> ResumableLoader:
        """All batches, epoch after epoch."""
        return ResumableLoader(self, Numbers(self.per_epoch), num_workers=num_workers)
