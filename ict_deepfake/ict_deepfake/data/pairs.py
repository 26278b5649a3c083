"""Batches of swapped pairs, made while they are asked for: the same numbers whoever makes them, and wherever training goes on."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch.utils.data import Dataset

from ict_deepfake.data.crops import Crops
from ict_deepfake.objective import PairBatch
from ict_deepfake.swapping import Recipe, nearest_donor, swap_pairs
from shared_utils import UserError, distributed
from shared_utils.loading import Numbers, ResumableLoader

Degradation = Callable[[np.ndarray, np.random.Generator], np.ndarray]
"""Pictures (n, h, w, 3) uint8 -> pictures, all of them by one recipe."""
_POOL = 256
# A batch is drawn in so many parts, each from its own numbers, so that processes can share it and nothing changes.
PARTS = 2


class PairBatches(Dataset):
    """The training's batches by their number since its beginning.

    Targets come in a random order, each once an epoch; their donors look like them. Of a picture whose person has no second
    one only the inner face is asked for: it is no target.

    Args:
        crops: of the training identities.
        batch_size: pairs of a step, all processes together.
        recipe: of the swaps.
        degradation: what is done to all pictures of a batch alike, swapped or not.
        genuine: share of the pairs that are two genuine pictures of one person.
        first_genuine: the same in the first batches.
        first: number of the first batches.
        matched: half of the pairs are swapped, and the other half are the same pictures as they were; for a network that is
            asked whether a picture is swapped, which shows in nothing else then. ``genuine`` is not asked for.
        candidates: of which a donor is the nearest.
        seed: of everything that is drawn.
    """

    def __init__(
        self,
        crops: Crops,
        batch_size: int,
        recipe: Recipe,
        degradation: Degradation | None,
        genuine: float,
        first_genuine: float | None = None,
        first: int = 0,
        matched: bool = False,
        candidates: int = 32,
        seed: int = 0,
    ) -> None:
        self.crops, self.batch_size, self.recipe, self.degradation = crops, batch_size, recipe, degradation
        self.genuine, self.first, self.candidates, self.seed = genuine, first, candidates, seed
        self.first_genuine = genuine if first_genuine is None else first_genuine
        self.matched = matched
        self.drawn = batch_size // 2 if matched else batch_size
        self.targets = np.flatnonzero(crops.counts()[crops.identity] > 1)
        if len(self.targets) < batch_size:
            raise UserError(
                f"{len(self.targets)} pictures of people with two or more make no batch of {batch_size} pairs: "
                "lower data.batch_size"
            )
        self.per_epoch = len(self.targets) // self.drawn
        self._epoch = -1
        self._permuted = self.targets

    def __len__(self) -> int:
        return self.per_epoch

    def loader(self, num_workers: int = 0) -> ResumableLoader:
        """All batches, epoch after epoch."""
        return ResumableLoader(self, Numbers(self.per_epoch), num_workers=num_workers)

    def __getitem__(self, number: int) -> PairBatch:
        """A batch, or the share of it that falls to this process."""
        return self.share(number, distributed.rank(), distributed.world_size())

    def share(self, number: int, rank: int, processes: int) -> PairBatch:
        """What a process trains on in a step: whole parts of the batch where their number allows it."""
        parts = self.parts
        if parts % processes:
            raise UserError(f"a batch of {self.batch_size} pairs cannot be shared by {processes} processes")
        own = [self._part(number, part) for part in range(rank * parts // processes, (rank + 1) * parts // processes)]
        return PairBatch(*(torch.cat(columns) for columns in zip(*own, strict=True)))

    @property
    def parts(self) -> int:
        """Into how many parts a batch is drawn."""
        wanted = max(PARTS, distributed.world_size())
        return wanted if self.drawn % wanted == 0 else 1

    def _part(self, number: int, part: int) -> PairBatch:
        parts = self.parts
        size = self.drawn // parts
        epoch, position = divmod(number, self.per_epoch)
        if epoch != self._epoch:
            self._epoch = epoch
            self._permuted = np.random.default_rng([self.seed, 0, epoch]).permutation(self.targets)
        start = position * self.drawn + part * size
        rows = self._permuted[start : start + size]
        rng = np.random.default_rng([self.seed, 1, number, part])
        # Shares of a batch, spread over its parts.
        share = 0.0 if self.matched else self.first_genuine if number < self.first else self.genuine
        genuine = round(share * self.drawn * (part + 1) / parts) - round(share * self.drawn * part / parts)
        others = np.concatenate([self._second_pictures(rows[:genuine], rng), self._donors(rows[genuine:], rng)])
        a, b = self.crops.cut(rows), self.crops.cut(others)
        ba, ab = a.images.copy(), b.images.copy()
        if genuine < size:
            swapped = slice(genuine, None)
            ba[swapped], ab[swapped] = swap_pairs(
                a.images[swapped], b.images[swapped], a.points[swapped], b.points[swapped], self.recipe, rng
            )
        made = np.arange(size) >= genuine
        if self.matched:
            ba, ab = np.concatenate([ba, a.images]), np.concatenate([ab, b.images])
            rows, others, made = np.tile(rows, 2), np.tile(others, 2), np.repeat([True, False], size)
        if self.degradation is not None:
            # From the batch's own numbers: one recipe for all of its parts.
            both = self.degradation(np.concatenate([ba, ab]), np.random.default_rng([self.seed, 2, number]))
            ba, ab = both[: len(ba)], both[len(ba) :]
        identity = self.crops.identity
        return PairBatch(
            *map(_channels_first, (ba, ab)),
            *(torch.from_numpy(values) for values in (identity[rows], identity[others], made)),
        )

    def _second_pictures(self, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Another picture of the same person."""
        found = np.empty_like(rows)
        for i, row in enumerate(rows):
            person = self.crops.of_person(int(self.crops.identity[row]))
            place = int(np.searchsorted(person, row))
            found[i] = person[(place + rng.integers(1, len(person))) % len(person)]
        return found

    def _donors(self, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """A picture of another person whose points are near."""
        if not len(rows):
            return rows
        pool = rng.integers(len(self.crops), size=min(_POOL, 16 * len(self.crops)))
        identity = self.crops.identity
        allowed = identity[pool][None] != identity[rows][:, None]
        while not allowed.any(1).all():  # a small set, and a pool of one person
            pool = rng.integers(len(self.crops), size=len(pool))
            allowed = identity[pool][None] != identity[rows][:, None]
        points = self.crops.points(np.concatenate([rows, pool]))
        chosen = nearest_donor(points[: len(rows)], points[len(rows) :], rng, self.candidates, allowed)
        return pool[chosen]


def _channels_first(images: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
