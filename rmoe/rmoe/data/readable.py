"""Training goes on without pictures that cannot be read: each is named once, counted and left out."""

from __future__ import annotations

import logging
from typing import Any, Protocol

from torch.utils.data import Dataset

from rmoe.data.files import UnreadableError
from rmoe.data.transforms import Transform

log = logging.getLogger(__name__)


class Readable(Protocol):
    """Samples by number."""

    def __len__(self) -> int: ...

    def __getitem__(self, number: int, /) -> Any: ...


class Samples(Dataset):
    """A data set that knows its length."""

    def __len__(self) -> int:
        raise NotImplementedError


class Prepared(Samples):
    """A data set and what is done to its samples.

    Args:
        dataset: of samples.
        transform: of one sample; None: none.
        skip: a picture that cannot be read becomes None, for the batch to leave out; false: it is an error.
    """

    def __init__(self, dataset: Readable, transform: Transform | None = None, skip: bool = False) -> None:
        self.dataset, self.transform, self.skip = dataset, transform, skip
        self.skipped: set[int] = set()

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, number: int) -> Any:
        try:
            sample = self.dataset[number]
        except UnreadableError as error:
            if not self.skip:
                raise
            if number not in self.skipped:
                self.skipped.add(number)
                log.warning("%s; skipped (%d so far in this process)", error, len(self.skipped))
            return None
        return sample if self.transform is None else self.transform(sample)
