"""``FilmDataModule``: degraded and clean clips for training, validation and test, reproducible to the batch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pytorch_lightning import LightningDataModule
from torch.utils.data import DataLoader, Dataset

from old_films_rtn.data.clips import FilmClips, ProceduralClips, Textures, collate, find_clips
from old_films_rtn.data.degradation import Degradation
from old_films_rtn.data.drawn import DrawnTextures
from old_films_rtn.data.procedural import Split
from old_films_rtn.data.textures import TemplateTextures
from shared_utils import UserError, distributed
from shared_utils.loading import EpochSampler


class FilmDataModule(LightningDataModule):
    """Batches of the samples of ``data.clips``.

    root: clip folders (see ``find_clips``); None: made clips, whose flow is known. val_root: clips for validation and test;
    None: every twentieth clip of ``root`` is held out. textures: a folder of scratch templates; None: drawn ones.
    defect_amount, lasting, largest, absent: of drawn contaminants (see ``DrawnTextures``). structures: of made scenes (see
    ``make_scene``). num_frames: of a training clip;
    eval_frames: of one in evaluation. crop: side of the training square; eval_crop: None for whole frames.
    samples_per_epoch: training samples an epoch; eval_samples: of validation, and of test. intervals: distances between
    frames. seed: of everything drawn for training.
    max_speed: of made clips, pixels a frame. degradation: which parts of the chain are used.

    Raises UserError where a folder is not there or holds nothing to train on.
    """

    def __init__(
        self,
        root: str | None = None,
        val_root: str | None = None,
        textures: str | None = None,
        defect_amount: float = 1.0,
        lasting: float = 0.0,
        largest: float = 1.0,
        absent: float = 0.0,
        structures: float = 0.0,
        num_frames: int = 7,
        eval_frames: int = 7,
        crop: int = 256,
        eval_crop: int | None = 256,
        batch_size: int = 1,
        num_workers: int = 0,
        samples_per_epoch: int = 400,
        eval_samples: tuple[int, int] = (16, 32),
        intervals: Sequence[int] = (1, 2),
        seed: int = 0,
        max_speed: float = 6.0,
        degradation: Degradation = Degradation(),  # noqa: B008 (frozen)
    ) -> None:
        super().__init__()
        if crop % 16 or (eval_crop or 16) % 16:
            raise UserError(f"data.crop {crop} and data.eval_crop {eval_crop} must be multiples of 16")
        if num_frames < 2 or eval_frames < 1 or batch_size < 1:
            raise UserError("data.num_frames must be at least 2, eval_frames and batch_size at least 1")
        self.root, self.val_root, self.textures = root, val_root, textures
        self.defect_amount, self.lasting, self.largest, self.absent = defect_amount, lasting, largest, absent
        self.structures = structures
        self.num_frames, self.eval_frames, self.crop, self.eval_crop = num_frames, eval_frames, crop, eval_crop
        self.batch_size, self.num_workers, self.samples_per_epoch = batch_size, num_workers, samples_per_epoch
        self.eval_samples, self.intervals, self.seed = tuple(eval_samples), tuple(intervals), seed
        self.max_speed, self.degradation = max_speed, degradation

    def _textures(self) -> Textures:
        if self.textures is not None:
            return TemplateTextures(self.textures)
        return DrawnTextures(self.defect_amount, self.lasting, self.largest, self.absent)

    def dataset(self, split: Split) -> Dataset:
        """The samples of ``train``, ``val`` or ``test``."""
        training = split == "train"
        frames = self.num_frames if training else self.eval_frames
        length = self.samples_per_epoch if training else self.eval_samples[split == "test"]
        if self.root is None:
            side = self.crop if training else self.eval_crop or self.crop
            size, textures = (side, side), self._textures()
            return ProceduralClips(
                split, length, frames, size, textures, self.degradation, self.seed, self.max_speed, self.structures
            )
        clips = find_clips(self.root if training or self.val_root is None else self.val_root)
        if self.val_root is None:
            held = set(sorted(clips)[:: max(1, min(20, len(clips) // 2))]) if len(clips) > 1 else set()
            if held:
                clips = {name: frames for name, frames in clips.items() if (name in held) != training}
        crop = self.crop if training else self.eval_crop
        return FilmClips(
            clips,
            frames,
            crop,
            self._textures(),
            self.degradation,
            self.intervals,
            training,
            length if training else min(length, len(clips)),
            self.seed,
        )

    def setup(self, stage: str | None = None) -> None:
        """Fail now, not in a worker, where there is nothing to read."""
        splits: tuple[Split, ...] = ("test",) if stage == "test" else ("train", "val")
        for split in splits:
            self.dataset(split)

    def _loader(self, split: Split) -> DataLoader:
        dataset, training = self.dataset(split), split == "train"
        sampler = EpochSampler(
            dataset, distributed.world_size(), distributed.rank(), shuffle=training, seed=self.seed, drop_last=training
        )
        return DataLoader(
            dataset,
            self.batch_size if training else 1,
            sampler=sampler,
            num_workers=self.num_workers,
            collate_fn=collate,
            drop_last=training,
            pin_memory=torch.cuda.is_available(),
            persistent_workers=self.num_workers > 0,
        )

    def train_dataloader(self) -> DataLoader:
        return self._loader("train")

    def val_dataloader(self) -> DataLoader:
        return self._loader("val")

    def test_dataloader(self) -> DataLoader:
        return self._loader("test")
