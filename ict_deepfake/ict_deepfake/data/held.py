"""Pictures of held identities to validate and test with: genuine ones, and each kind of fake."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ict_deepfake.data.crops import Crops
from ict_deepfake.swapping import Recipe, nearest_donor
from ict_deepfake.swapping.pairs import swap_many
from shared_utils.loading import RankShare

_MOST = 2000


@dataclass(frozen=True)
class Held:
    """Pictures that are only scored.

    Args:
        images: (n, s, s, 3) uint8 RGB.
        kind: (n,) index into ``kinds``.
        kinds: "genuine", then the kinds of fakes.
    """

    images: np.ndarray
    kind: np.ndarray
    kinds: list[str]

    def __len__(self) -> int:
        return len(self.images)

    def loader(self, num_workers: int = 0) -> DataLoader:
        """Batches of (uint8 (n, 3, s, s), number of each picture); each process its share, none twice."""
        return DataLoader(_Pictures(self.images), 256, sampler=RankShare(len(self)), num_workers=num_workers)


def gathered(genuine: np.ndarray, fakes: Mapping[str, np.ndarray]) -> Held:
    """Genuine pictures and fakes by kind as one set."""
    parts = [genuine, *fakes.values()]
    kind = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    return Held(np.concatenate(parts), kind, ["genuine", *fakes])


def swapped(crops: Crops, recipe: Recipe, seed: int) -> Held:
    """Every picture of some identities as it is, and with another one's inner face blended in."""
    rng = np.random.default_rng([seed, 3])
    rows = np.arange(len(crops))
    if len(rows) > _MOST:
        rows = np.sort(rng.choice(rows, _MOST, replace=False))
    points, identity = crops.points(rows), crops.identity[rows]
    donors = nearest_donor(points, points, rng, allowed=identity[:, None] != identity)
    cut = crops.cut(rows)
    images, _ = swap_many(cut.images, cut.images[donors], cut.points, cut.points[donors], recipe, rng)
    return gathered(cut.images, {"blend": images})


class _Pictures(Dataset):
    def __init__(self, images: np.ndarray) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        return torch.from_numpy(np.ascontiguousarray(self.images[row].transpose(2, 0, 1))), row
