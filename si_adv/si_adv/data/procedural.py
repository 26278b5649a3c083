"""``ProceduralShapes``: ten families of furniture-like shapes, made on the fly from a seed, with exact normals."""

from __future__ import annotations

import numpy as np
import torch
from torch.utils.data import Dataset

from shared_utils import UserError
from si_adv.data.families import FAMILIES, procedural_mesh
from si_adv.data.sample import SPLITS, Sample, normalise, sample_triangles

#: Of the points, standard deviation in units of the shape's radius, where nothing else is asked for.
NOISE = 0.01


class ProceduralShapes(Dataset[Sample]):
    """Clouds of ten shape families, balanced, each made when it is asked for: the data set that needs no download.

    A cloud depends on (seed, split, index) alone and not on ``size``. Points are drawn uniformly by area, then moved by
    Gaussian noise; normals are those of the noiseless faces. Normalised like every data set here: centred on the mean,
    largest radius one. About 0.8 ms of CPU time a cloud of 1024 points.

    Args:
        split: ``train``, ``val`` or ``test``.
        size: number of clouds.
        num_points: points of a cloud.
        seed: of the shapes and their points.
        noise: standard deviation, in units of the shape's radius.

    Raises:
        UserError: an unknown split.
    """

    class_names = tuple(FAMILIES)
    splits = SPLITS

    def __init__(
        self,
        split: str = "train",
        size: int = 1000,
        num_points: int = 1024,
        seed: int = 0,
        noise: float = NOISE,
    ) -> None:
        if split not in SPLITS:
            raise UserError(f"unknown split {split!r}: choose one of {', '.join(SPLITS)}")
        self.split, self.size, self.num_points, self.seed, self.noise = split, size, num_points, seed, noise
        self.labels = np.arange(size) % len(FAMILIES)

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> Sample:
        """See ``Sample``. Raises IndexError beyond the end."""
        points, normals, label, _ = self._made(index)
        return Sample(
            torch.from_numpy(points.astype(np.float32)),
            torch.from_numpy(normals.astype(np.float32)),
            label,
            f"{self.class_names[label]}_{index:05d}",
        )

    def stores_normals(self, index: int) -> bool:
        """True: all of them are exact."""
        return True

    def surface(self, index: int) -> np.ndarray:
        """The triangles (T, 3, 3) that the cloud was sampled from, in its frame. Raises IndexError beyond the end."""
        return self._made(index)[3]

    def _made(self, index: int) -> tuple[np.ndarray, np.ndarray, int, np.ndarray]:
        """Points, normals, label and triangles of a cloud."""
        if not 0 <= index < self.size:
            raise IndexError(f"cloud {index} of {self.size}")
        label = index % len(FAMILIES)
        rng = np.random.Generator(np.random.PCG64((self.seed, SPLITS.index(self.split), index)))
        triangles = procedural_mesh(self.class_names[label], rng)
        points, normals = sample_triangles(triangles, self.num_points, rng)
        points, centre, radius = normalise(points)
        noisy, shift, scale = normalise(points + self.noise * rng.standard_normal(points.shape))
        return noisy, normals, label, ((triangles - centre) / radius - shift) / scale
