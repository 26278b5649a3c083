"""What the data of both trainings share: batches that go on where a checkpoint was, and views that are finished on the device."""

from __future__ import annotations

from typing import Any, Literal

from pytorch_lightning import LightningDataModule
from torch.utils.data import DataLoader, Dataset

from luperson_nl.data.samplers import BatchOrder
from luperson_nl.data.street import Street
from luperson_nl.data.transforms import finish
from luperson_nl.data.viewing import Retrieval, TestViews
from shared_utils import UserError
from shared_utils.loading import Resumable, ResumableLoader


class TrainingData(Resumable, LightningDataModule):
    """Batches of ``Views``, ready for the model, and retrieval to evaluate with.

    Args:
        size: (height, width) of the views.
        batch_size: all processes together.
        num_workers: processes that load.
        seed: of the order and of the street.
        street: other arguments of the procedural street.
        erased: with the ``mean`` of the pixels, or ``black``.
    """

    mean: list[float]
    std: list[float]

    def __init__(
        self,
        size: tuple[int, int],
        batch_size: int,
        num_workers: int,
        seed: int,
        street: dict[str, Any] | None,
        erased: Literal["mean", "black"],
    ) -> None:
        super().__init__()
        if min(size) < 8:
            raise UserError(f"data.size {list(size)} is too small: give height and width of 8 or more")
        if num_workers < 0:
            raise UserError(f"data.num_workers {num_workers} is negative: give 0 or more")
        self.size, self.batch_size, self.num_workers = (size[0], size[1]), batch_size, num_workers
        self.order_seed, self._black = seed, erased == "black"
        try:
            self.street = Street(**{"seed": seed, "size": self.size, **(street or {})})
        except TypeError as error:
            raise UserError(f"data.street: {error}") from error

    def _training(self, views: Dataset, order: BatchOrder) -> ResumableLoader:
        return self.resumed(ResumableLoader(views, order, order.share, self.num_workers))

    def _evaluation(self, pictures: Retrieval | None) -> DataLoader | list:
        if pictures is None:
            return []
        return TestViews(pictures, self.size, self.mean, self.std).loader(256, self.num_workers)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Finish the views of training on the device."""
        if isinstance(batch, dict):
            batch["views"] = [finish(view, self.mean, self.std, self._black) for view in batch["views"]]
        return batch
