"""``FingerprintingDataModule``: slices of maps with simulated measurements."""

from __future__ import annotations

from dataclasses import asdict
from functools import cached_property
from typing import Any, Literal, cast

import torch
from pytorch_lightning import LightningDataModule
from torch.utils.data import DataLoader, Dataset

from mrf_unroll.data.measure import Batch, Measurer, random_symmetry
from mrf_unroll.data.slices import Anatomy, Slice, map_folder_slices, procedural_slices
from mrf_unroll.protocol import Protocol, ProtocolOptions
from shared_utils import UserError


class FingerprintingDataModule(LightningDataModule):
    """Batches of slices, measured by simulation with one protocol.

    Args:
        root: None for procedural slices; a folder of maps (.npz or .mat, a file a subject, see the README), or one
            such file.
        unit_t: ``ms`` or ``s``, of the maps' T1 and T2 where their file does not declare it.
        resample: scale the field of view to the protocol's image size; without it maps are cropped or padded.
        variants: varied copies of every training slice.
        protocol: the acquisition.
        noise, relative_noise: see ``Measurer``.
        complex_valued: slices keep their phase.
        anatomy: of procedural slices: ``randomised``, regions and heads of any T1, T2 and PD (``random_slice``), or
            ``heads`` of seven listed tissues.
        jitter: how far the tissues of ``heads`` are from their usual T1, T2 and PD, at most.
        num_train, num_val, num_test: subjects (of a folder: num_train is what is left).
        augment: flips, turns and gains, drawn in every step.
        seed: of heads, split and noise; None: the seed of the run.
    """

    def __init__(
        self,
        root: str | None = None,
        unit_t: Literal["ms", "s"] | None = None,
        resample: bool = False,
        variants: int = 0,
        protocol: ProtocolOptions = ProtocolOptions(),  # noqa: B008 (never changed)
        noise: float = 0.01,
        relative_noise: bool = True,
        complex_valued: bool = False,
        anatomy: Anatomy = "randomised",
        jitter: float = 0.05,
        num_train: int = 64,
        num_val: int = 8,
        num_test: int = 12,
        augment: bool = True,
        batch_size: int = 4,
        seed: int | None = None,
        num_workers: int = 0,
    ) -> None:
        super().__init__()
        for name, value in {"batch_size": batch_size, "num_train": num_train, "num_test": num_test}.items():
            if value < 1:
                raise UserError(f"data.{name} must be at least 1, got {value}")
        if not 0 <= jitter < 1:
            raise UserError(f"data.jitter must lie in [0, 1), got {jitter}")
        if noise < 0:
            raise UserError(f"data.noise is a standard deviation, got {noise}")
        seed = torch.initial_seed() % 2**31 if seed is None else seed
        options = {key: value for key, value in locals().items() if key not in ("self", "__class__", "name", "value")}
        self.options: dict[str, Any] = {**options, "protocol": asdict(protocol)}
        self.root, self.unit_t, self.resample, self.variants = root, unit_t, resample, variants
        self.protocol_options = protocol
        self.noise, self.relative_noise, self.complex_valued = noise, relative_noise, complex_valued
        self.anatomy: Anatomy = anatomy
        self.jitter = jitter
        self.num_train, self.num_val, self.num_test = num_train, num_val, num_test
        self.augment, self.batch_size, self.num_workers = augment, batch_size, num_workers
        self.seed = seed

    @classmethod
    def of(cls, options: dict[str, Any], **changes: Any) -> FingerprintingDataModule:
        """From the ``options`` that a checkpoint holds, some of them changed."""
        options = {**options, **changes}
        return cls(**{**options, "protocol": ProtocolOptions(**options["protocol"])})

    @cached_property
    def protocol(self) -> Protocol:
        """The acquisition; known before ``setup``."""
        return Protocol(self.protocol_options)

    @cached_property
    def measurer(self) -> Measurer:
        return Measurer(self.protocol, self.noise, self.relative_noise, self.complex_valued)

    @cached_property
    def slices(self) -> dict[str, list[Slice]]:
        """The slices a split; subjects are never in two of them."""
        size = self.protocol_options.image_size
        if self.root is None:
            counts = {"train": self.num_train, "val": self.num_val, "test": self.num_test}
            return {
                split: procedural_slices(split, count, size, self.seed, self.anatomy, self.jitter)
                for split, count in counts.items()
            }
        return map_folder_slices(
            self.root, size, self.unit_t, self.resample, self.seed, self.num_val, self.num_test, self.variants
        )

    @cached_property
    def training(self) -> Batch:
        """All training slices with their time series, which every step measures anew."""
        return self.measurer.training(self.slices["train"])

    @cached_property
    def validation(self) -> list[Batch]:
        return self.measurer.evaluation(self.slices["val"], self.seed + 1)

    @cached_property
    def test(self) -> list[Batch]:
        return self.measurer.evaluation(self.slices["test"], self.seed + 2)

    def train_dataloader(self) -> DataLoader:
        return DataLoader(
            _Rows(self.training),
            batch_size=self.batch_size,
            shuffle=True,
            drop_last=len(self.training.maps) >= self.batch_size,
            num_workers=self.num_workers,
            collate_fn=_collate,
            persistent_workers=self.num_workers > 0,
        )

    def val_dataloader(self) -> DataLoader:
        return DataLoader(cast(Dataset, self.validation), batch_size=None)

    def test_dataloader(self) -> DataLoader:
        return DataLoader(cast(Dataset, self.test), batch_size=None)

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Augment and measure a training batch, on its device."""
        self.protocol.to(batch.maps.device)
        if batch.adjoint is not None:
            return batch
        return self.measurer.measure(random_symmetry(batch) if self.augment else batch)


class _Rows(Dataset):
    """The items of a batch, one at a time."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch

    def __len__(self) -> int:
        return len(self.batch.maps)

    def __getitem__(self, place: int) -> Batch:
        return Batch._make(None if value is None else value[place] for value in self.batch)


def _collate(items: list[Batch]) -> Batch:
    return Batch._make(None if values[0] is None else torch.stack(values) for values in zip(*items, strict=True))
