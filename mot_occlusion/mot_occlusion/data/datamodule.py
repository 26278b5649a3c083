"""``TrackingDataModule``: batches for training, validation and test, from any layout."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from pytorch_lightning import LightningDataModule
from torch.utils.data import DataLoader, Dataset

from mot_occlusion.data import synthetic_crowd
from mot_occlusion.data.crowdhuman import annotation_file, read_crowdhuman
from mot_occlusion.data.evaluation_pairs import EvaluationPairs
from mot_occlusion.data.mot import Video, read_videos
from mot_occlusion.data.training_pairs import TrainingPairs
from mot_occlusion.data.transforms import AffineRanges
from shared_utils import UserError, distributed
from shared_utils.loading import EpochSampler

DEFAULT_CACHE = "~/.cache/mot_occlusion"


class TrackingDataModule(LightningDataModule):
    """Batches for training, validation and test.

    A frame that cannot be read is named and skipped in training, and an error in evaluation.

    Args:
        root: MOT15/16/17/20 (also with FairMOT's ``images`` level) or CrowdHuman as people have them on disk; None: the
            procedural crowd, drawn once into ``cache_dir``.
        extra_roots: further data sets that training mixes in.
        validation: ``half`` trains on the first half of every video and validates on the second, ``split`` validates on
            the split ``val`` (or ``test``) of the data set, ``none`` trains on everything and validates on it.
        input_size: (height, width) of the network input, multiples of 32.
        batch_size: pairs.
        num_workers: processes that load pairs.
        max_gap: frames between the two of a pair.
        negative_fraction: share of pairs from two different videos.
        augment: affine, flip and colour; off for a look at plain frames.
        affine: how far the random affine may go.
        max_objects: people in a frame, at most.
        min_visibility: people seen less are in no target but that of overlaps.
        min_reid_visibility: people seen less are not compared.
        clip_boxes: boxes end at the image's border (MOT20).
        crowd: sequences for training, validation and test of the procedural crowd, and frames in each.
        seed: of order, pairs, augmentation and crowd.
        cache_dir: where the procedural crowd is kept.

    Raises:
        UserError: an argument out of its range.
    """

    def __init__(
        self,
        root: str | None = None,
        extra_roots: list[str] | None = None,
        validation: Literal["half", "split", "none"] = "half",
        input_size: tuple[int, int] = (608, 1088),
        batch_size: int = 8,
        num_workers: int = 0,
        max_gap: int = 10,
        negative_fraction: float = 0.0,
        augment: bool = True,
        affine: AffineRanges = AffineRanges(),  # noqa: B008 (a NamedTuple never changes)
        max_objects: int = 500,
        min_visibility: float = 0.0,
        min_reid_visibility: float = 0.0,
        clip_boxes: bool = False,
        crowd: tuple[int, int, int, int] = (8, 2, 4, 150),
        seed: int = 0,
        cache_dir: str = DEFAULT_CACHE,
    ) -> None:
        super().__init__()
        if input_size[0] % 32 or input_size[1] % 32 or min(input_size) < 32:
            raise UserError(f"data.input_size {list(input_size)}: height and width must be multiples of 32")
        if not 0 <= negative_fraction < 1:
            raise UserError(f"data.negative_fraction must lie in [0, 1), got {negative_fraction}")
        if batch_size < 1 or max_objects < 1 or max_gap < 0:
            raise UserError("data.batch_size and data.max_objects must be at least 1, data.max_gap at least 0")
        height, width = input_size
        self.root, self.extra_roots, self.validation = root, list(extra_roots or ()), validation
        self.input_size, self.batch_size, self.num_workers = (height, width), batch_size, num_workers
        self.max_gap, self.negative_fraction, self.augment, self.affine = max_gap, negative_fraction, augment, affine
        self.max_objects, self.clip_boxes = max_objects, clip_boxes
        self.min_visibility, self.min_reid_visibility = min_visibility, min_reid_visibility
        self.crowd, self.seed = tuple(crowd), seed
        self.cache_dir = Path(cache_dir).expanduser()

    def prepare_data(self) -> None:
        """Draw the crowd, once a node."""
        if self.root is None:
            for split in ("train", "val", "test"):
                self.draw_crowd(split)

    def draw_crowd(self, split: str) -> Path:
        """The folder of the procedural crowd's split, drawn where it is not yet there."""
        number = ("train", "val", "test").index(split)
        height, width = self.input_size
        version, frames = synthetic_crowd.VERSION, self.crowd[3]
        folder = self.cache_dir / f"crowd-v{version}-{height}x{width}-{frames}-seed{self.seed}" / split
        synthetic_crowd.write_crowd(
            folder, self.crowd[number], self.crowd[3], seed=3 * self.seed + number, size=self.input_size
        )
        return folder

    def _videos(self, split: str, with_ids: bool) -> list[Video]:
        """``train``, ``val`` or ``test`` videos."""
        if self.root is None:
            videos = read_videos(self.draw_crowd(split), with_ids=with_ids)
            return videos[: self.crowd[("train", "val", "test").index(split)]]
        if annotation_file(self.root, "train").is_file():
            return read_crowdhuman(self.root, "train" if split == "train" else "val")
        if self.validation == "half":
            part = "first-half" if split == "train" else "second-half"
            return read_videos(self.root, "train" if self._has_split("train") else None, part, with_ids)
        if self.validation == "none" or split == "train":
            return read_videos(self.root, "train" if self._has_split("train") else None, with_ids=with_ids)
        return read_videos(self.root, "val" if self._has_split("val") else "test", with_ids=with_ids)

    def _has_split(self, split: str) -> bool:
        return self.root is not None and any((Path(self.root) / level / split).is_dir() for level in ("", "images"))

    @cached_property
    def training_pairs(self) -> TrainingPairs:
        videos = self._videos("train", with_ids=False)
        for root in self.extra_roots:
            crowd = annotation_file(root, "train").is_file()
            videos += read_crowdhuman(root, "train") if crowd else read_videos(root)
        options: dict[str, Any] = {"affine": self.affine}
        if not self.augment:
            options = {"affine": None, "colour": 0.0, "flip": 0.0}
        return TrainingPairs(
            videos,
            self.input_size,
            self.seed,
            self.max_gap,
            self.negative_fraction,
            max_objects=self.max_objects,
            min_visibility=self.min_visibility,
            min_reid_visibility=self.min_reid_visibility,
            clip_boxes=self.clip_boxes,
            **options,
        )

    def setup(self, stage: str | None = None) -> None:
        # A wrong layout is reported before the trainer starts.
        if stage == "fit":
            _ = self.training_pairs

    def train_dataloader(self) -> DataLoader:
        pairs = self.training_pairs
        drop_last = len(pairs) > self.batch_size
        sampler = EpochSampler(
            pairs, distributed.world_size(), distributed.rank(), shuffle=True, seed=self.seed, drop_last=drop_last
        )
        return self._loader(pairs, self.batch_size, sampler=sampler, drop_last=drop_last)

    def val_dataloader(self) -> DataLoader:
        return self._evaluation("val")

    def test_dataloader(self) -> DataLoader:
        return self._evaluation("test")

    def _evaluation(self, split: str) -> DataLoader:
        pairs = EvaluationPairs(self._videos(split, with_ids=True), self.input_size, self.max_gap or 10, seed=self.seed)
        return self._loader(pairs, None)

    def _loader(self, dataset: Dataset, batch_size: int | None, **options: Any) -> DataLoader:
        return DataLoader(
            dataset,
            batch_size,
            num_workers=self.num_workers,
            pin_memory=torch.cuda.is_available(),
            persistent_workers=self.num_workers > 0,
            **options,
        )
