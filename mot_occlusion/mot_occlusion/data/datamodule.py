"""``TrackingDataModule``: pairs of frames with their targets, from any layout, reproducible to the batch."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import torch
from pytorch_lightning import LightningDataModule
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from mot_occlusion.data import synthetic_crowd
from mot_occlusion.data.crowdhuman import annotation_file, read_crowdhuman
from mot_occlusion.data.mot import Video, read_videos
from mot_occlusion.data.transforms import AffineRanges, relight, scale_colour, warp_boxes, warp_image
from mot_occlusion.decode import Letterbox
from mot_occlusion.targets import detection_targets
from shared_utils import UserError, distributed

log = logging.getLogger(__name__)
DEFAULT_CACHE = "~/.cache/mot_occlusion"
Batch = dict[str, Any]
# Half of the second frame's targets are never looked at: only the first one is supervised for detection.
_OF_PREVIOUS = ("ind", "reg_mask", "reid_mask")


def read_image(path: Path) -> np.ndarray:
    """(H, W, 3) uint8 RGB. Raises UserError naming the file where it cannot be read."""
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise UserError(f"{path} is not an image that can be read: fetch or extract it again")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def to_tensor(image: np.ndarray) -> torch.Tensor:
    """(H, W, 3) uint8 -> (3, H, W) float32 in [0, 1], as published without mean and deviation."""
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))).float() / 255


class EpochSampler(DistributedSampler):
    """This process's share of a fresh permutation every epoch, as pairs (epoch, index).

    The order follows from (seed, epoch) alone, and with the epoch in hand the data set draws pairs and augmentation from
    (seed, epoch, index): a resumed run gets the batches that an uninterrupted one would have had.
    """

    def __iter__(self) -> Iterator[tuple[int, int]]:
        for index in super().__iter__():
            yield self.epoch, index


class FramePairs(Dataset):
    """Two augmented frames of one video, at most ``max_gap`` apart, or, for a share of ``negative_fraction``, of two videos.

    A single image is paired with a second augmentation of itself. Indexed by (epoch, index). A frame that cannot be read
    is named and another one taken. Identities are nowhere in here.
    """

    def __init__(
        self,
        videos: list[Video],
        input_size: tuple[int, int],
        seed: int,
        max_gap: int = 10,
        negative_fraction: float = 0.0,
        affine: AffineRanges | None = None,
        colour: float = 0.5,
        flip: float = 0.5,
        max_objects: int = 500,
        min_visibility: float = 0.0,
        min_reid_visibility: float = 0.0,
        clip_boxes: bool = False,
    ) -> None:
        self.videos, self.input_size, self.seed = videos, input_size, seed
        self.max_gap, self.negative_fraction = max_gap, negative_fraction
        self.affine, self.colour, self.flip = affine, colour, flip
        self.max_objects, self.clip_boxes = max_objects, clip_boxes
        self.min_visibility, self.min_reid_visibility = min_visibility, min_reid_visibility
        self.places = [(number, frame) for number, video in enumerate(videos) for frame in range(len(video))]

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, place: tuple[int, int]) -> Batch:
        epoch, index = place
        rng = np.random.default_rng((self.seed, epoch, index))
        for _ in range(10):
            try:
                return self._pair(*self.places[index], rng)
            except UserError as error:
                log.warning("skipped: %s", error)
                index = int(rng.integers(len(self)))
        raise UserError("ten frames in a row cannot be read: check the data set")

    def _pair(self, number: int, frame: int, rng: np.random.Generator) -> Batch:
        video = self.videos[number]
        negative = len(self.videos) > 1 and rng.random() < self.negative_fraction
        if negative:
            other = self.videos[(number + int(rng.integers(1, len(self.videos)))) % len(self.videos)]
            second = int(rng.integers(len(other)))
        else:
            other = video
            low, high = max(0, frame - self.max_gap), min(len(video) - 1, frame + self.max_gap)
            second = int(rng.integers(low, high + 1))
        flip = rng.random() < self.flip
        size = self.input_size
        first_affine = None if self.affine is None else self.affine.draw(rng, size)
        second_affine = None if self.affine is None else self.affine.perturb(first_affine, rng, size)
        image, targets = self._frame(video, frame, first_affine, flip, rng)
        image_previous, previous = self._frame(other, second, second_affine, flip, rng)
        return {
            "image": image,
            "image_previous": image_previous,
            "targets": targets,
            "targets_previous": {name: previous[name] for name in _OF_PREVIOUS},
            "negative": negative,
        }

    def _frame(
        self, video: Video, frame: int, affine: Any, flip: bool, rng: np.random.Generator
    ) -> tuple[torch.Tensor, dict[str, np.ndarray]]:
        height, width = self.input_size
        image = read_image(video.images[frame])
        factors = rng.uniform(1 - self.colour, 1 + self.colour, 2)
        if self.colour:
            image = scale_colour(image, *factors)
        box = Letterbox.of(image.shape[:2], self.input_size)
        boxes, visibility = video.boxes[frame], video.visibility[frame]
        if self.clip_boxes:
            limit = np.array([image.shape[1], image.shape[0]], np.float32)
            low, high = np.clip(boxes[:, :2], 0, limit), np.clip(boxes[:, :2] + boxes[:, 2:], 0, limit)
            boxes = np.concatenate((low, high - low), 1)
        corners = box.boxes_to_input(np.concatenate((boxes[:, :2], boxes[:, :2] + boxes[:, 2:]), 1))
        image = box(image)
        if affine is not None:
            matrix = affine.matrix(self.input_size)
            image = warp_image(image, matrix)
            corners, rows = warp_boxes(corners, matrix, affine.angle)
            visibility = visibility[rows]
        # Nobody is taught whose whole box has left the frame.
        inside = (corners[:, 2] > 0) & (corners[:, 3] > 0) & (corners[:, 0] < width) & (corners[:, 1] < height)
        corners, visibility = corners[inside], visibility[inside]
        if flip:
            image = image[:, ::-1]
            corners = np.stack((width - corners[:, 2], corners[:, 1], width - corners[:, 0], corners[:, 3]), 1)
        low, high = corners[:, :2], corners[:, 2:]
        normalised = np.concatenate(((low + high) / 2, high - low), 1) / np.array([width, height] * 2, np.float32)
        map_size = (height // 4, width // 4)
        targets = detection_targets(normalised, map_size, self.max_objects, visible=visibility >= self.min_visibility)
        kept = targets.pop("kept")
        # Two people in one cell share one embedding: nothing can tell them apart, so one of them stands for both.
        clear = targets["reg_mask"].copy()
        clear[: len(kept)] &= visibility[kept] >= self.min_reid_visibility
        used = np.flatnonzero(clear)
        targets["reid_mask"] = np.zeros_like(targets["reg_mask"])
        targets["reid_mask"][used[np.unique(targets["ind"][used], return_index=True)[1]]] = True
        return to_tensor(image), targets


class EvaluationPairs(Dataset):
    """Frames with boxes and identities, and the frame ``gap`` later under a new light: for average precision and rank-1.

    Every ``stride``-th frame. Single images have no later frame and are compared with themselves; videos read without
    identities have numbers in their place.
    """

    def __init__(
        self, videos: list[Video], input_size: tuple[int, int], gap: int = 10, stride: int = 10, seed: int = 0
    ) -> None:
        self.videos, self.input_size, self.gap, self.seed = videos, input_size, gap, seed
        self.places = [
            (number, frame)
            for number, video in enumerate(videos)
            for frame in range(0, max(1, len(video) - gap), stride if len(video) > 1 else 1)
        ]

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> Batch:
        number, frame = self.places[index]
        video = self.videos[number]
        later = min(frame + self.gap, len(video) - 1)
        rng = np.random.default_rng((self.seed, index))
        image, image_later = read_image(video.images[frame]), relight(read_image(video.images[later]), rng)
        box = Letterbox.of(image.shape[:2], self.input_size)

        def side(at: int) -> dict[str, torch.Tensor]:
            boxes = video.boxes[at]
            corners = box.boxes_to_input(np.concatenate((boxes[:, :2], boxes[:, :2] + boxes[:, 2:]), 1))
            ids = np.arange(len(boxes)) if video.ids is None else video.ids[at]
            visibility = video.visibility[at]
            return {
                name: torch.from_numpy(value)
                for name, value in zip(
                    ("boxes", "ids", "visibility"), (corners, ids.astype(np.int64), visibility), strict=True
                )
            }

        return {
            "image": to_tensor(box(image)),
            "image_later": to_tensor(box(image_later)),
            "now": side(frame),
            "later": side(later),
        }


class TrackingDataModule(LightningDataModule):
    """Batches for training, validation and test.

    root: MOT15/16/17/20 (also with FairMOT's ``images`` level) or CrowdHuman as people have them on disk; None: the
    procedural crowd, drawn once into ``cache_dir``.
    extra_roots: further data sets that training mixes in. validation: ``half`` trains on the first half of every video
    and validates on the second, ``split`` validates on the split ``val`` (or ``test``) of the data set, ``none`` trains
    on everything and validates on it.
    input_size: (height, width) of the network input, multiples of 32. batch_size: pairs.
    max_gap: frames between the two of a pair. negative_fraction: share of pairs from two different videos.
    augment: affine, flip and colour; off for a look at plain frames. min_visibility: people seen less are in no target
    but that of overlaps; min_reid_visibility: people seen less are not compared.
    clip_boxes: boxes end at the image's border (MOT20).
    crowd: sequences for training, validation and test of the procedural crowd, and frames in each.
    seed: of order, pairs, augmentation and crowd.

    A frame that cannot be read is named and skipped in training, and an error in evaluation.
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
        self.root, self.extra_roots, self.validation = root, list(extra_roots or ()), validation
        self.input_size, self.batch_size, self.num_workers = tuple(input_size), batch_size, num_workers
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
        return any((Path(self.root) / level / split).is_dir() for level in ("", "images"))

    @cached_property
    def training_pairs(self) -> FramePairs:
        videos = self._videos("train", with_ids=False)
        for root in self.extra_roots:
            crowd = annotation_file(root, "train").is_file()
            videos += read_crowdhuman(root, "train") if crowd else read_videos(root)
        options = {"affine": self.affine} if self.augment else {"affine": None, "colour": 0.0, "flip": 0.0}
        return FramePairs(
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
        # A wrong layout is told before the trainer starts.
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
