"""Crops with noisy identities for pre-training: a store on disk, or the procedural street."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property, partial
from typing import Any, Literal

import numpy as np
from torch.utils.data import DataLoader

from luperson_nl.data import market
from luperson_nl.data.batches import TrainingData
from luperson_nl.data.decoding import decode
from luperson_nl.data.samplers import BatchOrder
from luperson_nl.data.store import Store, open_store
from luperson_nl.data.street import Crops
from luperson_nl.data.transforms import StrongView, WeakView
from luperson_nl.data.viewing import Retrieval, Views, of_crops, of_lists
from luperson_nl.models.statistics import STATISTICS
from shared_utils import UserError
from shared_utils.loading import ResumableLoader

Kind = Literal["weak", "strong"]


class PretrainingData(TrainingData):
    """Views of crops with noisy identities, and other persons to validate and test with.

    A batch is ``{"views": [(n, 3, h, w), ...], "label": (n,), "index": (n,)}``, ready for the model.

    Args:
        root: a store, or the authors' ``lmdb/`` with ``keys.pkl``; null: the procedural street.
        views: of each crop, the query's first: weak, strong; ``supervised`` takes one.
        strong: name of the strong view.
        size: (height, width).
        padding: of the weak view, pixels.
        statistics: published mean and standard deviation by name (``lmdb_200_20``); null: those of the data.
        batch_size: all processes together.
        num_workers: processes that load.
        seed: of the order, of the views, and of the street.
        validation: a data set of the Market family; null: other persons of the street, or none.
        street: other arguments of the procedural street.
        held: persons of the street in validation, and in test.
    """

    def __init__(
        self,
        root: str | None = None,
        views: Sequence[Kind] = ("weak", "strong"),
        strong: str = "ori-cj+sre",
        size: tuple[int, int] = (256, 128),
        padding: int = 10,
        statistics: str | None = None,
        batch_size: int = 64,
        num_workers: int = 0,
        seed: int = 0,
        validation: str | None = None,
        street: dict[str, Any] | None = None,
        held: int = 60,
    ) -> None:
        super().__init__(size, batch_size, num_workers, seed, street, erased="mean")
        if len(views) not in (1, 2):
            raise UserError(f"data.views are one or two, got {', '.join(views) or 'none'}")
        if statistics is not None and statistics not in STATISTICS:
            raise UserError(f"data.statistics {statistics!r} is unknown: choose of {', '.join(STATISTICS)}, or null")
        self.root = root
        made = {"weak": WeakView(self.size, padding), "strong": StrongView(self.size, strong)}
        self.views = [made[name] for name in views]
        self.statistics, self.validation, self.held = statistics, validation, held

    @cached_property
    def crops(self) -> Store | Crops:
        """What is trained on."""
        return self.street.train() if self.root is None else open_store(self.root)

    @property
    def labels(self) -> np.ndarray:
        """(n,) noisy identities, 0..C-1."""
        return self.crops.index.label if isinstance(self.crops, Store) else self.crops.labels

    @property
    def true(self) -> np.ndarray | None:
        """(n,) persons, -1 where unknown; None where nothing is known."""
        return self.crops.index.true if isinstance(self.crops, Store) else self.crops.true

    @property
    def keys(self) -> np.ndarray | None:
        """(n,) names of the crops; None: their row is their name."""
        return self.crops.index.key if isinstance(self.crops, Store) else None

    @property
    def num_classes(self) -> int:
        """C."""
        return self.crops.num_classes

    @cached_property
    def _pixels(self) -> tuple[Sequence[float], Sequence[float]]:
        if self.statistics is not None:
            return STATISTICS[self.statistics]
        crops = self.crops
        if isinstance(crops, Store):
            return crops.mean, crops.std
        pixels = crops.images.reshape(-1, 3)
        return (pixels.mean(0) / 255).tolist(), (pixels.std(0, dtype=np.float64) / 255).tolist()

    @property
    def mean(self) -> list[float]:
        """Of R, G, B in 0..1."""
        return [float(value) for value in self._pixels[0]]

    @property
    def std(self) -> list[float]:
        """Of R, G, B in 0..1."""
        return [float(value) for value in self._pixels[1]]

    def _read(self) -> Callable[[int], np.ndarray]:
        crops = self.crops
        return partial(_stored, crops, self.size) if isinstance(crops, Store) else crops.images.__getitem__

    def train_dataloader(self) -> ResumableLoader:
        order = BatchOrder(len(self.labels), self.batch_size, self.order_seed)
        return self._training(Views(self._read(), self.labels, self.views, self.order_seed), order)

    @cached_property
    def retrieval(self) -> Retrieval | None:
        """What is validated with."""
        if self.validation is not None:
            found = market.read(self.validation)
            if not len(found.query) or not len(found.gallery):
                raise UserError(
                    f"data.validation {self.validation} has no query and gallery: give a data set with both"
                )
            return of_lists(found.query, found.gallery)
        return of_crops(self.street.validation(self.held)) if self.root is None else None

    @cached_property
    def final(self) -> Retrieval | None:
        """What is tested with at the end: the street's test persons."""
        return of_crops(self.street.test(self.held)) if self.root is None else None

    def val_dataloader(self) -> DataLoader | list:
        return self._evaluation(self.retrieval)

    def test_dataloader(self) -> DataLoader | list:
        return self._evaluation(self.final)


def _stored(store: Store, size: tuple[int, int], index: int) -> np.ndarray:
    """A crop of a store, decoded no larger than a view needs."""
    image = decode(store.encoded(index), size)
    return store.image(index) if image is None else image  # which says what is wrong with it
