"""Random changes of training clouds that leave their class alone. For victims, never for attacks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from shared_utils import UserError


@dataclass(frozen=True)
class Augmentation:
    """Random scale, shift and point dropout of one cloud.

    Args:
        scale: range of the factor, drawn once a cloud, or once an axis where ``anisotropic``.
        anisotropic: a factor of its own for every axis (the DGCNN recipe).
        shift: largest shift along each axis, uniform.
        dropout: largest share of points that are replaced by the first one; the share is uniform below it (0.875 in the
            PointNet++ recipe).

    Raises:
        UserError: impossible values.
    """

    scale: tuple[float, float] = (0.8, 1.25)
    anisotropic: bool = False
    shift: float = 0.1
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if len(self.scale) != 2 or not 0 < self.scale[0] <= self.scale[1]:
            raise UserError(f"augmentation.scale must be a range of positive factors, got {self.scale}")
        if self.shift < 0 or not 0 <= self.dropout < 1:
            raise UserError("augmentation.shift must not be negative, and dropout must lie in [0, 1)")

    def __call__(
        self, points: np.ndarray, normals: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """New points (N, 3) and normals (N, 3) or (0, 3) of a changed cloud; float32, the arguments stay as they are."""
        factors = rng.uniform(*self.scale, 3 if self.anisotropic else 1).astype(np.float32)
        moved = points * factors + rng.uniform(-self.shift, self.shift, 3).astype(np.float32)
        if self.anisotropic and len(normals):
            # A normal is a covector: it takes the inverse factors.
            normals = normals / factors
            normals = normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
        if self.dropout:
            dropped = rng.random(len(points)) < rng.uniform(0, self.dropout)
            moved[dropped] = moved[0]
            if len(normals):
                normals = np.where(dropped[:, None], normals[:1], normals)
        return moved, normals
