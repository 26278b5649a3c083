"""The data of fine-tuning: procedural fakes, or a labelled set whose mouths ``preprocess`` has cut out."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from pytorch_lightning import LightningDataModule
from torch.utils.data import DataLoader

from av_deepfake.data.augmentation import Augmentation
from av_deepfake.data.clips import FRAMES, ClipIndex
from av_deepfake.data.facts import description
from av_deepfake.data.labelled import Balance, Held, Labelled, MouthBatches
from av_deepfake.data.layouts import Layout, open_set
from av_deepfake.data.mouths import ArrayMouths
from av_deepfake.procedural import METHODS, Fakes
from av_deepfake.procedural import Mouths as Drawn
from shared_utils import UserError
from shared_utils.loading import Resumable, ResumableLoader

TRAIN_FRAMES, TEST_FRAMES = 270, 110
"""First frames of a video that are used, as LipForensics does."""


def of_fakes(fakes: Fakes, frames: int = FRAMES) -> Labelled:
    """Procedural clips as labelled videos of one clip each."""
    keys = [(str(method), str(video)) for method, video in zip(fakes.method, fakes.video, strict=True)]
    mouths = ArrayMouths(fakes.pictures)
    return Labelled(mouths, keys, np.asarray(fakes.label), ClipIndex.of(mouths.frames, frames))


class DetectionData(Resumable, LightningDataModule):
    """Labelled clips.

    Args:
        root: a labelled set (see ``layouts.open_set``); null: procedural fakes of four methods.
        mouths: the folder that ``preprocess`` wrote of ``root``; not needed where the set itself has ``cropped_mouths``.
        layout: of the set; found out where null.
        compression: of FaceForensics++.
        validation: a labelled set to validate with, where ``root`` has no official split; ``validation_mouths`` are its crops.
        validation_mouths: see there.
        leave_out: a method that is not trained on; it is what is tested.
        balance: half of a batch is real; the other half goes round the ``methods`` or not (``classes``); ``none``: as they
            come, with model.prior.
        size: side of the network's pictures.
        frames: of a clip.
        batch_size: clips of a step, all processes together.
        num_workers: processes that read clips.
        seed: of the procedural fakes and of everything that is drawn.
        augmentation: of the clips.
        per_class: procedural: training clips of each class.
        held_per_class: procedural: the same for validation and test.
        compressed: procedural: share of the training clips that are compressed.
        mean, std: of the network's input.
        cache: procedural: folder of what was drawn; null: nothing is kept.
    """

    def __init__(
        self,
        root: str | None = None,
        mouths: str | None = None,
        layout: Layout | None = None,
        compression: str = "c23",
        validation: str | None = None,
        validation_mouths: str | None = None,
        leave_out: str | None = None,
        balance: Balance = "methods",
        size: int = 88,
        frames: int = FRAMES,
        batch_size: int = 32,
        num_workers: int = 0,
        seed: int = 0,
        augmentation: Augmentation = Augmentation(),  # noqa: B008 (frozen)
        per_class: int = 60,
        held_per_class: int = 40,
        compressed: float = 0.5,
        mean: float = 0.421,
        std: float = 0.165,
        cache: str | None = "~/.cache/av_deepfake",
    ) -> None:
        super().__init__()
        if batch_size < 2 or num_workers < 0:
            raise UserError(f"data: a batch of 2 clips and 0 workers are the least, got {batch_size} and {num_workers}")
        if root is None and leave_out is not None and leave_out not in METHODS:
            raise UserError(f"data.leave_out {leave_out}: the methods of the procedural fakes are {', '.join(METHODS)}")
        self.root, self.mouths, self.compression, self.leave_out = root, mouths, compression, leave_out
        self.layout: Layout | None = layout
        self.balance: Balance = balance
        self.validation, self.validation_mouths = validation, validation_mouths
        self.size, self.frames, self.batch_size, self.num_workers = size, frames, batch_size, num_workers
        self.seed, self.augmentation = seed, augmentation
        self.per_class, self.held_per_class = per_class, held_per_class
        self.compressed, self.mean, self.std, self.cache = compressed, mean, std, cache

    @cached_property
    def _drawn(self) -> Drawn:
        return Drawn(self.seed, self.size, self.cache)

    @cached_property
    def videos(self) -> Labelled:
        """What is trained on, the method that is left out among it."""
        if self.root is None:
            fakes = self._drawn.detection("train", self.per_class, "".join(METHODS), self.compressed)
            return of_fakes(fakes, self.frames)
        return self._labelled(self.root, self.mouths, "train", TRAIN_FRAMES)

    def _labelled(self, root: str, mouths: str | None, split: str, most: int) -> Labelled:
        from av_deepfake.data.stored import labelled

        found = open_set(root, self.layout, split, self.compression)
        return labelled(found, mouths, self.frames, most, size=self.size)

    @cached_property
    def methods(self) -> Sequence[str]:
        """That are trained on."""
        known = self.videos.methods
        if self.leave_out is not None and self.leave_out not in known:
            raise UserError(f"data.leave_out {self.leave_out}: the methods of {self.root} are {', '.join(known)}")
        return [method for method in known if method != self.leave_out]

    @property
    def prior(self) -> float | None:
        """Share of fakes among the clips that are drawn; None where batches are balanced."""
        return None if self.balance != "none" else self.batches().fakes

    @cached_property
    def preprocessing(self) -> dict[str, Any]:
        """How clips are made for the network."""
        crop = {"variant": "drawn", "landmarks": "drawn", "crop_size": self.size}
        if self.root is not None:
            from av_deepfake.data.stored import crop_of

            crop = crop_of(self.videos.mouths)
        return {**crop, "size": self.size, "frames": self.frames, "fps": 25, "mean": self.mean, "std": self.std}

    @cached_property
    def training(self) -> dict[str, Any]:
        """What it was that is trained on."""
        name = "procedural fakes" if self.root is None else str(Path(self.root))
        more = (
            {"methods": list(self.methods), "compressed": self.compressed}
            if self.root is None
            else {"methods": list(self.methods)}
        )
        return {"detection": description(name, self.videos.mouths, self.size, self.frames, self.seed, **more)}

    def batches(self) -> MouthBatches:
        """The training's batches."""
        return MouthBatches(
            self.videos, self.batch_size, self.size, self.balance, self.augmentation, self.seed, self.methods
        )

    @cached_property
    def held(self) -> Held | None:
        """What is validated with: methods that are trained on."""
        if self.root is None:
            fakes = self._drawn.detection("val", self.held_per_class, "".join(self.methods), self.compressed)
            return Held(of_fakes(fakes, self.frames), self.size)
        if self.validation is not None:
            return Held(self._labelled(self.validation, self.validation_mouths, "val", TEST_FRAMES), self.size)
        if self.layout in ("faceforensics", "lipforensics"):
            return Held(self._labelled(self.root, self.mouths, "val", TEST_FRAMES), self.size)
        return None

    @cached_property
    def final(self) -> list[tuple[str, Held]]:
        """What is tested with: all methods, clean and compressed."""
        if self.root is not None:
            return []
        names = "".join(METHODS)
        return [
            (
                name,
                Held(
                    of_fakes(self._drawn.detection("test", self.held_per_class, names, share), self.frames), self.size
                ),
            )
            for name, share in (("clean", 0.0), ("compressed", 1.0))
        ]

    def train_dataloader(self) -> ResumableLoader:
        return self.resumed(self.batches().loader(self.num_workers))

    def val_dataloader(self) -> DataLoader | list:
        return [] if self.held is None else self.held.loader(self.num_workers)

    def test_dataloader(self) -> list[DataLoader]:
        return [held.loader() for _, held in self.final]
