"""Talking clips for pre-training: a clip a video, its own sound, and the same video's sound at other times."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from av_deepfake.data.augmentation import Augmentation, centred
from av_deepfake.data.clips import FRAMES
from av_deepfake.data.loading import Numbered
from av_deepfake.data.mouths import Mouths
from av_deepfake.objective import TalkingBatch
from shared_utils import UserError
from shared_utils.loading import RankShare

log = logging.getLogger(__name__)
FPS = 25


class TalkingBatches(Numbered):
    """The batches of a pre-training: every video once an epoch, so never two clips of one video in a batch.

    Args:
        mouths: the videos.
        batch_size: clips of a step, all processes together.
        size: side of the network's pictures.
        frames: of a clip.
        shifted: windows of the same video's sound that are negatives.
        shift_min: seconds that they are away at least; the sound of less is nearly the same.
        augmentation: of the clips.
        shuffled: the control: every video has the sound of another one, so that there is nothing to learn.
        seed: of everything that is drawn.
        rows: the videos that are used; all where None.
    """

    def __init__(
        self,
        mouths: Mouths,
        batch_size: int,
        size: int,
        frames: int = FRAMES,
        shifted: int = 2,
        shift_min: float = 0.4,
        augmentation: Augmentation = Augmentation(),  # noqa: B008 (frozen)
        shuffled: bool = False,
        seed: int = 0,
        rows: np.ndarray | None = None,
    ) -> None:
        self.mouths, self.size, self.frames, self.shifted = mouths, size, frames, shifted
        self.away, self.augmentation, self.seed = round(shift_min * FPS), augmentation, seed
        rows = np.arange(len(mouths.frames)) if rows is None else np.asarray(rows)
        # From every start there must be a window far enough away, before or behind it.
        least = frames + (2 * self.away - 1 if shifted else 0)
        self.rows = rows[np.asarray(mouths.frames)[rows] >= least]
        if len(self.rows) < len(rows):
            log.info(
                "%d of %d videos are shorter than %d frames: left out", len(rows) - len(self.rows), len(rows), least
            )
        if len(self.rows) < batch_size:
            longest = int(np.max(np.asarray(mouths.frames)[rows], initial=0))
            hint = ", or data.shifted 0, which needs shorter videos" if shifted else ""
            raise UserError(
                f"{len(self.rows)} videos of {least} frames or more (the longest has {longest}) make no batch of {batch_size}: "
                f"lower data.batch_size{hint}"
            )
        super().__init__(batch_size, len(self.rows) // batch_size)
        self._epoch, self._permuted = -1, self.rows
        order = np.random.default_rng([seed, 2]).permutation(len(self.rows))
        # A cycle through all of them: nobody keeps his own sound.
        self._other = (
            dict(zip(self.rows[order].tolist(), self.rows[np.roll(order, 1)].tolist(), strict=True)) if shuffled else {}
        )

    def __getitem__(self, number: int) -> TalkingBatch:
        epoch, position = divmod(number, self.per_epoch)
        if epoch != self._epoch:
            self._epoch = epoch
            self._permuted = np.random.default_rng([self.seed, 0, epoch]).permutation(self.rows)
        places = np.arange(position * self.batch_size, (position + 1) * self.batch_size)[self.own()]
        clips = [
            self._clip(int(self._permuted[p]), np.random.default_rng([self.seed, 1, epoch, int(p)])) for p in places
        ]
        pictures, sound = (torch.from_numpy(np.stack(part)) for part in zip(*clips, strict=True))
        return TalkingBatch(pictures, sound, torch.from_numpy(self._permuted[places].astype(np.int64)))

    def _clip(self, video: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        source = self._other.get(video, video)
        last = int(min(self.mouths.frames[video], self.mouths.frames[source])) - self.frames
        start = int(rng.integers(last + 1))
        starts = [start, *self._elsewhere(start, last, rng)]
        pictures = self.augmentation.pictures(self.mouths.pictures(video, start, self.frames), self.size, rng)
        sound = [self.augmentation.mel(self.mouths.mel(source, each, self.frames), rng) for each in starts]
        return np.ascontiguousarray(pictures), np.stack(sound)

    def _elsewhere(self, start: int, last: int, rng: np.random.Generator) -> list[int]:
        if not self.shifted:
            return []
        every = np.arange(last + 1)
        allowed = every[np.abs(every - start) >= self.away]
        return rng.choice(allowed, self.shifted, replace=len(allowed) < self.shifted).tolist()


@dataclass(frozen=True)
class Retrieval:
    """Clips among which the sound of each is looked for, or the picture of each sound.

    Args:
        name: of the set.
        mouths: one clip each.
        size: side of the network's pictures.
        frames: of a clip.
    """

    name: str
    mouths: Mouths
    size: int
    frames: int = FRAMES

    def __len__(self) -> int:
        return len(self.mouths.frames)

    def loader(self) -> DataLoader:
        """Batches of (row, pictures (n, t, s, s) uint8, log-mel (n, 4 t, 80)); each process its share, none twice."""
        return DataLoader(_Clips(self), 64, sampler=RankShare(len(self)))


class _Clips(Dataset):
    def __init__(self, retrieval: Retrieval) -> None:
        self.of = retrieval

    def __len__(self) -> int:
        return len(self.of)

    def __getitem__(self, row: int) -> tuple[int, Tensor, Tensor]:
        # The middle of each: recordings begin and end in silence.
        frames, mouths = self.of.frames, self.of.mouths
        start = (int(mouths.frames[row]) - frames) // 2
        pictures = centred(mouths.pictures(row, start, frames), self.of.size)
        return row, torch.from_numpy(np.ascontiguousarray(pictures)), torch.from_numpy(mouths.mel(row, start, frames))
