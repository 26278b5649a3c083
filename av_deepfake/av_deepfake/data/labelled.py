"""Labelled clips for fine-tuning, in balanced batches, and all clips of videos to validate and test with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from av_deepfake.data.augmentation import Augmentation, centred
from av_deepfake.data.clips import ClipIndex, padded
from av_deepfake.data.loading import Numbered
from av_deepfake.data.mouths import Mouths
from av_deepfake.objective import MouthBatch
from shared_utils import UserError
from shared_utils.loading import RankShare

Balance = Literal["methods", "classes", "none"]


@dataclass(frozen=True)
class Labelled:
    """Videos with labels.

    Args:
        mouths: where their crops are.
        keys: (m,) (method, id) of each.
        label: (m,) 1 = fake.
        index: their clips.
    """

    mouths: Mouths
    keys: Sequence[tuple[str, str]]
    label: np.ndarray
    index: ClipIndex

    @property
    def methods(self) -> list[str]:
        """Of the fakes, in their order."""
        return list(dict.fromkeys(method for (method, _), fake in zip(self.keys, self.label, strict=True) if fake))

    def rows(self, methods: Sequence[str] | None = None) -> np.ndarray:
        """Videos with a clip: the real ones, and the fakes of some methods."""
        kept = np.isin(np.arange(len(self.keys)), self.index.video)
        if methods is not None:
            kept &= np.array([not fake or key[0] in methods for key, fake in zip(self.keys, self.label, strict=True)])
        return np.flatnonzero(kept)


class MouthBatches(Numbered):
    """Batches of labelled clips, one clip a video.

    Args:
        videos: to train with.
        batch_size: clips of a step, all processes together.
        size: side of the network's pictures.
        balance: ``methods``: half of a batch is real, the other half goes round the methods of the fakes; ``classes``: half and
            half, whatever the methods; ``none``: as the videos come (with the loss adjusted by ``model.prior``).
        augmentation: of the clips.
        seed: of everything that is drawn.
        methods: of the fakes; all where None.
    """

    def __init__(
        self,
        videos: Labelled,
        batch_size: int,
        size: int,
        balance: Balance = "methods",
        augmentation: Augmentation = Augmentation(),  # noqa: B008 (frozen)
        seed: int = 0,
        methods: Sequence[str] | None = None,
    ) -> None:
        self.videos, self.size, self.balance, self.augmentation, self.seed = videos, size, balance, augmentation, seed
        rows = videos.rows(methods)
        real, fake = rows[videos.label[rows] == 0], rows[videos.label[rows] == 1]
        if not len(real) or not len(fake):
            raise UserError(f"{len(real)} real and {len(fake)} fake videos with a clip: both are needed to train")
        if balance == "none":
            self._pools = [rows]
            per_epoch = len(rows) // batch_size
        elif batch_size % 2:
            raise UserError(f"data.batch_size {batch_size}: half of a balanced batch is real, choose an even number")
        else:
            groups = [fake]
            if balance == "methods":
                of = np.array([videos.keys[row][0] for row in fake])
                groups = [fake[of == method] for method in dict.fromkeys(of.tolist())]
            self._pools = [real, *groups]
            per_epoch = -(-2 * max(len(real), len(fake)) // batch_size)
        super().__init__(batch_size, per_epoch)
        self._clips = {int(row): videos.index.rows_of(int(row)) for row in rows}

    @property
    def fakes(self) -> float:
        """Share of fakes among the clips that are drawn."""
        return 0.5 if self.balance != "none" else float(self.videos.label[self._pools[0]].mean())

    def _video(self, pool: int, place: int) -> int:
        """The ``place``-th draw from a pool: each of its videos once, in a new order, before any comes again."""
        rows = self._pools[pool]
        turn, position = divmod(place, len(rows))
        return int(np.random.default_rng([self.seed, 0, pool, turn]).permutation(rows)[position])

    def _chosen(self, number: int, place: int) -> int:
        if self.balance == "none":
            return self._video(0, number * self.batch_size + place)
        # Real and fake alternate, so that every process has its share of both.
        half, (turn, is_fake) = number * (self.batch_size // 2), divmod(place, 2)
        if not is_fake:
            return self._video(0, half + turn)
        others = len(self._pools) - 1
        return self._video(1 + (half + turn) % others, (half + turn) // others)

    def __getitem__(self, number: int) -> MouthBatch:
        found = []
        for place in range(self.batch_size)[self.own()]:
            video, rng = self._chosen(number, place), np.random.default_rng([self.seed, 1, number, place])
            index, row = self.videos.index, int(rng.choice(self._clips[video]))
            clip = self.videos.mouths.pictures(video, int(index.start[row]), int(index.frames[row]))
            pictures, valid = padded(self.augmentation.pictures(clip, self.size, rng), index.length)
            found.append((np.ascontiguousarray(pictures), valid, np.float32(self.videos.label[video])))
        return MouthBatch(*(torch.from_numpy(np.stack(part)) for part in zip(*found, strict=True)))


@dataclass(frozen=True)
class Held:
    """All clips of videos that are only scored."""

    videos: Labelled
    size: int

    def __len__(self) -> int:
        return len(self.videos.index)

    def loader(self, num_workers: int = 0) -> DataLoader:
        """Batches of (row, pictures (n, t, s, s) uint8, valid (n, t)); each process its share, none twice."""
        return DataLoader(_HeldClips(self), 64, sampler=RankShare(len(self)), num_workers=num_workers)


class _HeldClips(Dataset):
    def __init__(self, held: Held) -> None:
        self.held = held

    def __len__(self) -> int:
        return len(self.held)

    def __getitem__(self, row: int) -> tuple[int, Tensor, Tensor]:
        index, mouths = self.held.videos.index, self.held.videos.mouths
        clip = mouths.pictures(int(index.video[row]), int(index.start[row]), int(index.frames[row]))
        pictures, valid = padded(centred(clip, self.held.size), index.length)
        return row, torch.from_numpy(np.ascontiguousarray(pictures)), torch.from_numpy(valid)
