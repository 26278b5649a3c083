"""Data sets of person re-identification for fine-tuning, whole or a published share of them."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from torch.utils.data import DataLoader

from luperson_nl.data import market, splits
from luperson_nl.data.batches import TrainingData
from luperson_nl.data.image_lists import UNKNOWN, ImageList, read_image
from luperson_nl.data.samplers import BalancedOrder, BatchOrder, IdentityOrder
from luperson_nl.data.street import Crops
from luperson_nl.data.transforms import FineTuneView
from luperson_nl.data.viewing import Retrieval, Views, of_crops, of_lists
from luperson_nl.models.statistics import STATISTICS
from shared_utils import UserError
from shared_utils.loading import ResumableLoader

_SAMPLED = 512  # pictures whose pixels give the statistics


class FinetuningData(TrainingData):
    """P x K batches of a data set's training part; its query and gallery to evaluate with.

    A batch is ``{"views": [(n, 3, h, w)], "label": (n,), "index": (n,)}``, ready for the model.

    Args:
        root: a data set's folder, or one above it, or a CSV file; null: the procedural street with its true persons.
        name: of the data set (``market1501``), where there are several below ``root``.
        split: ``id:0.10`` or ``im:0.10``: the share of persons or of pictures that is trained on; null: all.
        split_folder: where the lists of splits are, or are made; null: the data set's folder.
        repeat: how often a few-shot list is repeated.
        size: (height, width).
        padding: pixels.
        statistics: mean and standard deviation of the pixels by name, those of the data of pre-training (``lmdb_200_20``); null:
            those of the training part.
        sampler: ``naive`` or ``balanced`` (across cameras).
        batch_size: P x K, all processes together.
        instances: K.
        num_workers: processes that load.
        seed: of the order, of the views, of a split that is made, and of the street.
        street: other arguments of the procedural street.
        held: persons of the street to evaluate with.
    """

    def __init__(
        self,
        root: str | None = None,
        name: str | None = None,
        split: str | None = None,
        split_folder: str | None = None,
        repeat: int = 1,
        size: tuple[int, int] = (256, 128),
        padding: int = 10,
        statistics: str | None = None,
        sampler: Literal["naive", "balanced"] = "naive",
        batch_size: int = 64,
        instances: int = 4,
        num_workers: int = 0,
        seed: int = 0,
        street: dict[str, Any] | None = None,
        held: int = 60,
    ) -> None:
        super().__init__(size, batch_size, num_workers, seed, street, erased="black")
        if statistics is not None and statistics not in STATISTICS:
            raise UserError(f"data.statistics {statistics!r} is unknown: choose of {', '.join(STATISTICS)}, or null")
        if split is not None:
            splits.parse(split)
        self.root, self.data_name, self.split, self.split_folder = root, name, split, split_folder
        self.repeat, self.held = repeat, held
        self.view = FineTuneView(self.size, padding)
        self.statistics = statistics
        self.sampler, self.instances = sampler, instances

    @cached_property
    def _found(self) -> market.ReidData:
        assert self.root is not None
        found = market.read(self.root, self.data_name)
        for part in ("train", "query", "gallery"):
            if not len(getattr(found, part)):
                raise UserError(f"{found.root} has no {part} pictures: fine-tuning needs train, query and gallery")
        return found

    @cached_property
    def _crops(self) -> Crops:
        return self.street.train()

    @cached_property
    def train(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Pictures (paths, or (n, h, w, 3) uint8), labels 0..C-1 and cameras of what is trained on."""
        if self.root is not None:
            chosen, folder = self._found.train, self._found.root
        else:
            crops = self._crops
            rows = np.arange(len(crops))
            unknown = np.full(len(crops), UNKNOWN)
            chosen = ImageList(rows.astype(str), crops.true, crops.cameras + 1, unknown, unknown)
            folder = Path("runs") / f"street_{self.order_seed}"
        if self.split is not None:
            chosen = splits.apply(chosen, self.split, self.split_folder or folder, self.order_seed, self.repeat)
        images = chosen.paths if self.root is not None else self._crops.images[chosen.paths.astype(int)]
        return images, chosen.labels(), chosen.camera

    @cached_property
    def _pixels(self) -> tuple[list[float], list[float]]:
        if self.statistics is not None:
            mean, std = STATISTICS[self.statistics]
            return list(mean), list(std)
        count = len(self.train[1])
        chosen = np.unique(np.linspace(0, count - 1, min(count, _SAMPLED)).astype(int))
        pixels = np.concatenate([self._image(int(row)).reshape(-1, 3) for row in chosen])
        return (pixels.mean(0) / 255).tolist(), (pixels.std(0, dtype=np.float64) / 255).tolist()

    @property
    def mean(self) -> list[float]:
        """Of R, G, B in 0..1."""
        return self._pixels[0]

    @property
    def std(self) -> list[float]:
        """Of R, G, B in 0..1."""
        return self._pixels[1]

    @property
    def num_classes(self) -> int:
        """C, of what is trained on."""
        return int(self.train[1].max()) + 1

    @cached_property
    def retrieval(self) -> Retrieval:
        """Query and gallery."""
        if self.root is None:
            return of_crops(self.street.test(self.held))
        return of_lists(self._found.query, self._found.gallery)

    @property
    def order(self) -> BatchOrder:
        """Of the training part."""
        _, labels, cameras = self.train
        if self.sampler == "balanced":
            return BalancedOrder(labels, cameras, self.batch_size, self.instances, self.order_seed)
        return IdentityOrder(labels, self.batch_size, self.instances, self.order_seed)

    def _image(self, index: int) -> np.ndarray:
        images = self.train[0]
        return images[index] if images.ndim == 4 else read_image(images[index])

    def train_dataloader(self) -> ResumableLoader:
        return self._training(Views(self._image, self.train[1], [self.view], self.order_seed), self.order)

    def val_dataloader(self) -> DataLoader | list:
        return self._evaluation(self.retrieval)
