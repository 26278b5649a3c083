"""Sets of face pictures with the identity of both faces in each."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class FaceSet:
    """n pictures of faces.

    Args:
        images: (n, s, s, 3) uint8 RGB.
        identity: (n,) int64, whose head it is: the outer face.
        points: (n, 68, 2) float32 x, y pixels; of a blended picture, those of the target.
        inner: (n,) int64, whose inner face it is; the same as ``identity`` where not given.
    """

    images: np.ndarray
    identity: np.ndarray
    points: np.ndarray
    inner: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))

    def __post_init__(self) -> None:
        if len(self.inner) != len(self.identity):
            object.__setattr__(self, "inner", self.identity)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, rows: np.ndarray | slice) -> FaceSet:
        return FaceSet(self.images[rows], self.identity[rows], self.points[rows], self.inner[rows])

    @property
    def outer(self) -> np.ndarray:
        """(n,) whose outer face it is."""
        return self.identity


@dataclass(frozen=True)
class TestFaces:
    """Genuine pictures and the suspects made of them, row by row.

    Args:
        genuine: n pictures.
        fakes: by kind (``fakes.SWAPS`` and ``fakes.CONTROLS``), n pictures each.
    """

    __test__ = False  # pytest collects no class of this name

    genuine: FaceSet
    fakes: dict[str, FaceSet]
