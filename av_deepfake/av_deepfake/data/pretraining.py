"""The data of pre-training: procedural talking mouths, or what ``preprocess`` has made of a folder of talking videos."""

from __future__ import annotations

import logging
from functools import cached_property
from typing import Any, Literal

import numpy as np
from pytorch_lightning import LightningDataModule
from torch.utils.data import DataLoader

from av_deepfake.data.augmentation import Augmentation
from av_deepfake.data.clips import FRAMES
from av_deepfake.data.facts import description
from av_deepfake.data.mouths import ArrayMouths, Mouths
from av_deepfake.data.talking import Retrieval, TalkingBatches
from av_deepfake.procedural import SPEAKERS
from av_deepfake.procedural import Mouths as Drawn
from shared_utils import UserError
from shared_utils.loading import Resumable, ResumableLoader

log = logging.getLogger(__name__)


class TalkingData(Resumable, LightningDataModule):
    """Talking clips with their sound.

    Args:
        root: what ``preprocess`` wrote of talking videos; null: procedural mouths.
        size: side of the network's pictures; crops of 96 are cut to 88.
        frames: of a clip.
        batch_size: clips of a step, all processes together.
        num_workers: processes that read clips.
        seed: of the procedural mouths, of what is held for validation, and of everything that is drawn.
        shifted: windows of the same video's sound, 0.4 s away or more, that are negatives.
        shift_min: seconds that they are away at least.
        shuffled: the control: every video has the sound of another one.
        augmentation: of the clips.
        held: videos of ``root`` that are kept for validation.
        speakers: procedural: how many.
        per_speaker: procedural: recordings of each.
        nuisance: procedural: clean, moderate or hard; noise in pre-training costs what is learnt of fine motion.
        galleries: procedural: how many clips the easy set (validated on) and the hard set (tested on) have.
        mean, std: of the network's input; LipForensics' numbers.
        cache: procedural: folder of what was drawn; null: nothing is kept.
    """

    def __init__(
        self,
        root: str | None = None,
        size: int = 88,
        frames: int = FRAMES,
        batch_size: int = 64,
        num_workers: int = 0,
        seed: int = 0,
        shifted: int = 2,
        shift_min: float = 0.4,
        shuffled: bool = False,
        augmentation: Augmentation = Augmentation(),  # noqa: B008 (frozen)
        held: int = 256,
        speakers: int = 100,
        per_speaker: int = 6,
        nuisance: Literal["clean", "moderate", "hard"] = "moderate",
        galleries: tuple[int, int] = (128, 256),
        mean: float = 0.421,
        std: float = 0.165,
        cache: str | None = "~/.cache/av_deepfake",
    ) -> None:
        super().__init__()
        if batch_size < 2 or num_workers < 0 or shifted < 0 or shift_min <= 0:
            raise UserError(
                "data: a batch of 2 clips, 0 workers, 0 shifted windows and a shift above 0 s are the least, got "
                f"{batch_size}, {num_workers}, {shifted} and {shift_min}"
            )
        self.root, self.size, self.frames, self.batch_size = root, size, frames, batch_size
        self.num_workers, self.seed, self.shifted, self.shift_min = num_workers, seed, shifted, shift_min
        self.shuffled, self.augmentation, self._held_count = shuffled, augmentation, held
        self.speakers, self.per_speaker, self.nuisance, self.galleries = speakers, per_speaker, nuisance, galleries
        self.mean, self.std, self.cache = mean, std, cache
        if root is None and not 1 <= speakers <= len(SPEAKERS["pretraining"]):
            raise UserError(f"data.speakers {speakers}: there are {len(SPEAKERS['pretraining'])} for pre-training")

    @cached_property
    def _drawn(self) -> Drawn:
        return Drawn(self.seed, self.size, self.cache)

    @cached_property
    def mouths(self) -> Mouths:
        """All videos."""
        if self.root is None:
            found = self._drawn.recordings(
                SPEAKERS["pretraining"][: self.speakers], self.per_speaker, nuisance=self.nuisance
            )
            return ArrayMouths(found.pictures, found.sound)
        from av_deepfake.data.stored import StoredMouths

        return StoredMouths.open(self.root, sound=True, size=self.size)

    @cached_property
    def _split(self) -> tuple[np.ndarray, np.ndarray]:
        """Numbers of the training's and of the held videos."""
        count = len(self.mouths.frames)
        held = 0 if self.root is None else min(self._held_count, count // 5)
        order = np.random.default_rng([self.seed, 4]).permutation(count)
        return np.sort(order[held:]), np.sort(order[:held])

    @cached_property
    def preprocessing(self) -> dict[str, Any]:
        """How clips are made for the network."""
        crop = {"variant": "drawn", "landmarks": "drawn", "crop_size": self.size}
        if self.root is not None:
            from av_deepfake.data.stored import StoredMouths

            assert isinstance(self.mouths, StoredMouths)
            crop = self.mouths.crop
        return {**crop, "size": self.size, "frames": self.frames, "fps": 25, "mean": self.mean, "std": self.std}

    @cached_property
    def training(self) -> dict[str, Any]:
        """What it was that is trained on."""
        name = f"procedural mouths ({self.nuisance})" if self.root is None else self.root
        return {
            "pretraining": description(name, self.mouths, self.size, self.frames, self.seed, shuffled=self.shuffled)
        }

    def batches(self) -> TalkingBatches:
        """The training's batches."""
        return TalkingBatches(
            self.mouths,
            self.batch_size,
            self.size,
            self.frames,
            self.shifted,
            self.shift_min,
            self.augmentation,
            self.shuffled,
            self.seed,
            self._split[0],
        )

    @cached_property
    def held(self) -> Retrieval | None:
        """What is validated with."""
        if self.root is None:
            return self._gallery("easy", self.galleries[0])
        rows = self._split[1]
        rows = rows[np.asarray(self.mouths.frames)[rows] >= self.frames]
        return None if len(rows) < 2 else Retrieval("held", _Part(self.mouths, rows), self.size, self.frames)

    @cached_property
    def final(self) -> list[Retrieval]:
        """What is tested with."""
        if self.root is not None:
            return []
        return [self._gallery("easy", self.galleries[0]), self._gallery("hard", self.galleries[1])]

    def _gallery(self, kind: Literal["easy", "hard"], count: int) -> Retrieval:
        found = self._drawn.retrieval(kind, count, seconds=self.frames / 25)
        return Retrieval(kind, ArrayMouths(found.pictures, found.sound), self.size, self.frames)

    def train_dataloader(self) -> ResumableLoader:
        return self.resumed(self.batches().loader(self.num_workers))

    def val_dataloader(self) -> DataLoader | list:
        return [] if self.held is None else self.held.loader()

    def test_dataloader(self) -> list[DataLoader]:
        return [each.loader() for each in self.final]


class _Part:
    """Some of the videos, under new numbers."""

    def __init__(self, mouths: Mouths, rows: np.ndarray) -> None:
        self._of, self._rows = mouths, rows
        self.frames = np.asarray(mouths.frames)[rows]

    def pictures(self, video: int, start: int, count: int) -> np.ndarray:
        return self._of.pictures(int(self._rows[video]), start, count)

    def mel(self, video: int, start: int, count: int) -> np.ndarray:
        return self._of.mel(int(self._rows[video]), start, count)
