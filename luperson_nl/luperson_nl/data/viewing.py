"""Data sets of torch over crops: views for training, and the query and gallery of an evaluation."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from luperson_nl.data.image_lists import ImageList, read_image
from luperson_nl.data.street import Crops
from luperson_nl.data.transforms import View
from shared_utils import UserError
from shared_utils.loading import RankShare

log = logging.getLogger(__name__)
_UNREADABLE_IN_A_ROW = 20


class Views(Dataset):
    """Views of crops: ``{"views": [View, ...], "label", "index"}``, a function of (seed, epoch, index).

    A crop that cannot be read is named in the log, and the next one taken in its place.

    Args:
        read: the crop of an index, (h, w, 3) uint8 RGB; a UserError where it cannot be read.
        labels: (n,) integers.
        views: made of each crop, as ``transforms.WeakView``.
        seed: of what is drawn.
    """

    def __init__(
        self,
        read: Callable[[int], np.ndarray],
        labels: np.ndarray,
        views: Sequence[Callable[[np.ndarray, random.Random], View]],
        seed: int = 0,
    ) -> None:
        self.read, self.labels, self.views, self.seed = read, labels, tuple(views), seed

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, place: tuple[int, int]) -> dict[str, Any]:
        index, epoch = place
        image, index = self._readable(index)
        draw = random.Random((self.seed << 96) | (epoch << 64) | index)
        return {
            "views": [view(image, draw) for view in self.views],
            "label": int(self.labels[index]),
            "index": index,
        }

    def _readable(self, index: int) -> tuple[np.ndarray, int]:
        for _ in range(_UNREADABLE_IN_A_ROW):
            try:
                return self.read(index), index
            except UserError as error:
                log.warning("skipped in training: %s", error)
                index = (index + 1) % len(self)
        raise UserError(f"{_UNREADABLE_IN_A_ROW} crops in a row cannot be read: restore the data from a copy")


@dataclass(frozen=True)
class Retrieval:
    """The pictures of an evaluation, the queries first.

    ``images``: (n, h, w, 3) uint8 RGB, or (n,) paths; ``pid``, ``camera``: (n,).
    """

    images: np.ndarray
    pid: np.ndarray
    camera: np.ndarray
    num_query: int

    def __len__(self) -> int:
        return len(self.pid)

    def image(self, row: int) -> np.ndarray:
        """One of them, (h, w, 3) uint8 RGB."""
        return self.images[row] if self.images.ndim == 4 else read_image(self.images[row])


def of_lists(query: ImageList, gallery: ImageList) -> Retrieval:
    """The evaluation of a data set on disk."""
    joined = (np.concatenate([getattr(part, name) for part in (query, gallery)]) for name in ("paths", "pid", "camera"))
    return Retrieval(*joined, num_query=len(query))


def of_crops(split: tuple[Crops, Crops]) -> Retrieval:
    """The evaluation of the street."""
    joined = (np.concatenate([getattr(part, name) for part in split]) for name in ("images", "true", "cameras"))
    return Retrieval(*joined, num_query=len(split[0]))


class TestViews(Dataset):
    """(picture as the model takes it, row) of an evaluation."""

    __test__ = False

    def __init__(self, pictures: Retrieval, size: tuple[int, int], mean: Sequence[float], std: Sequence[float]) -> None:
        self.pictures, self.size, self.mean, self.std = pictures, size, mean, std

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        from luperson_nl.pretrained import test_view

        return test_view(self.pictures.image(row), self.size, self.mean, self.std), row

    def loader(self, batch_size: int, num_workers: int) -> DataLoader:
        """Every picture once over all processes."""
        return DataLoader(self, batch_size, sampler=RankShare(len(self)), num_workers=num_workers)
