"""Clips in colour of which only key-frames keep it: made ones, or folders of colour video (DAVIS, YouTube-VOS, REDS)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from pytorch_lightning import LightningDataModule
from torch.utils.data import DataLoader, Dataset

from old_films_rtn.colour.lab import to_lab
from old_films_rtn.data.clips import find_clips
from old_films_rtn.data.procedural import Split, make_scene
from old_films_rtn.models.colour import network_input
from old_films_rtn.video.frame import Frame
from old_films_rtn.video.images import read_image
from shared_utils import UserError, distributed
from shared_utils.loading import EpochSampler


def film_noise(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Grain and flicker (t, h, w) of a film's lightness, in units of L."""
    grain = cv2.GaussianBlur(rng.standard_normal((*shape[1:], shape[0])).astype(np.float32), (0, 0), 0.8)
    return 3 * np.moveaxis(grain, -1, 0) + rng.normal(0, 1.5, (shape[0], 1, 1)).astype(np.float32)


class ColourClips(Dataset):
    """Samples ``clip`` (t, 4, h, w), as ``ColourNetwork`` takes it, and ``ab`` (t, 2, h, w), a and b, by (epoch, index).

    root: a folder of clip folders, whose shorter side is scaled to ``side``; None: made scenes. One key-frame in the first
    half of a clip and, in half of the clips, another in the second half; in validation and test always the first and the
    last frame. The lightness gets grain and flicker, so that colour has to be carried over what differs from frame to frame.
    Made scenes but those of the test are in colours that are drawn anew for every layer; those of training are of all speeds,
    and of all amounts of grain.
    """

    def __init__(self, root: str | None, split: Split, length: int, num_frames: int, side: int, seed: int) -> None:
        self.split: Split = split
        self.length, self.num_frames, self.side, self.seed = length, num_frames, side, seed
        self.clips: list[list[Path]] = []
        if root is not None:
            found = [frames for _, frames in sorted(find_clips(root).items()) if len(frames) >= num_frames]
            held = found[::20] if len(found) > 1 else found
            self.clips = [frames for frames in found if frames not in held or len(found) == 1]
            if split != "train":
                self.clips = held
            if not self.clips:
                raise UserError(
                    f"no clip in {root} has {num_frames} frames: lower data.num_frames or give longer clips"
                )

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, place: tuple[int, int]) -> dict[str, Any]:
        epoch, index = place
        training = self.split == "train"
        number = ("train", "val", "test").index(self.split)
        rng = np.random.default_rng((self.seed, number, epoch, index) if training else (0, number, 0, index))
        if self.clips:
            rgb = self._cut(self.clips[index % len(self.clips)], rng)
        else:
            speed = 0.5 * 12 ** rng.random() if training else 6.0
            rgb = make_scene(
                *(rng, self.split, self.num_frames, self.side, self.side, speed),
                colour=True,
                recolour=self.split != "test",
            ).frames
        lab = to_lab(rgb)
        half = self.num_frames // 2
        keys = {int(rng.integers(half))} if training else {0, self.num_frames - 1}
        if training and rng.random() < 0.5:
            keys.add(int(rng.integers(half, self.num_frames)))
        known = np.zeros((self.num_frames, 1, *lab.shape[-2:]), np.float32)
        known[list(keys)] = 1
        lab[:, 0] += (rng.random() if training else 1) * film_noise(rng, lab[:, 0].shape)
        lab = torch.from_numpy(lab)
        return {"clip": network_input(lab, torch.from_numpy(known)), "ab": lab[:, 1:]}

    def _cut(self, frames: list[Path], rng: np.random.Generator) -> np.ndarray:
        start = int(rng.integers(len(frames) - self.num_frames + 1))
        images = [Frame(0, read_image(path), 0).rgb() for path in frames[start : start + self.num_frames]]
        factor = self.side / min(images[0].shape[:2])
        images = [cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA) for image in images]
        height, width = images[0].shape[:2]
        top, left = int(rng.integers(height - self.side + 1)), int(rng.integers(width - self.side + 1))
        return np.stack([image[top : top + self.side, left : left + self.side] for image in images])


class ColourDataModule(LightningDataModule):
    """Batches of ``ColourClips``. root: clip folders; None: made scenes. side: of the square clips, a multiple of 16.
    samples_per_epoch: training clips an epoch; eval_samples: of validation, and of test. seed: of what training draws."""

    def __init__(
        self,
        root: str | None = None,
        num_frames: int = 8,
        side: int = 64,
        batch_size: int = 1,
        num_workers: int = 0,
        samples_per_epoch: int = 200,
        eval_samples: tuple[int, int] = (8, 24),
        seed: int = 0,
    ) -> None:
        super().__init__()
        if side % 16 or num_frames < 2:
            raise UserError(f"data.side {side} must be a multiple of 16, data.num_frames {num_frames} at least 2")
        self.root, self.num_frames, self.side, self.seed = root, num_frames, side, seed
        self.batch_size, self.num_workers = batch_size, num_workers
        self.lengths = {"train": samples_per_epoch, "val": eval_samples[0], "test": eval_samples[1]}

    def _loader(self, split: Split) -> DataLoader:
        dataset = ColourClips(self.root, split, self.lengths[split], self.num_frames, self.side, self.seed)
        training = split == "train"
        sampler = EpochSampler(
            dataset, distributed.world_size(), distributed.rank(), shuffle=training, seed=self.seed, drop_last=training
        )
        return DataLoader(
            dataset,
            self.batch_size if training else 1,
            sampler=sampler,
            num_workers=self.num_workers,
            drop_last=training,
            persistent_workers=self.num_workers > 0,
        )

    def train_dataloader(self) -> DataLoader:
        return self._loader("train")

    def val_dataloader(self) -> DataLoader:
        return self._loader("val")

    def test_dataloader(self) -> DataLoader:
        return self._loader("test")
