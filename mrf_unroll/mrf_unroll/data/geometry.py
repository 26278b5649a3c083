"""Where voxels lie: patient coordinates of a slice, and the affine of a stack of slices as NIfTI has it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from shared_utils import UserError

# Of directions and distances between slices, relative to 1 and to their spacing.
_TOLERANCE = 1e-2
# From DICOM's axes (left, posterior, superior) to those of NIfTI (right, anterior, superior).
_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True)
class Geometry:
    """Where a slice lies, in mm along DICOM's axes (to the patient's left, back and head).

    Args:
        position: (3,) of the voxel in row H // 2 and column W // 2, the centre of the Fourier transform.
        column, row, normal: (3,) unit vectors along which columns (x, read-out), rows (y, phase) and slices count up.
        spacing: (3,) mm between rows, columns and slices.
    """

    position: np.ndarray
    column: np.ndarray
    row: np.ndarray
    normal: np.ndarray
    spacing: np.ndarray

    @classmethod
    def of(
        cls,
        position: Sequence[float],
        column: Sequence[float],
        row: Sequence[float],
        normal: Sequence[float],
        spacing: Sequence[float],
    ) -> Geometry:
        """From five triples.

        Raises:
            UserError: for directions that are not unit vectors at right angles, and spacings that are not positive.
        """
        values = [np.array(value, dtype=np.float64).reshape(-1) for value in (position, column, row, normal, spacing)]
        axes = np.stack(values[1:4])
        if (
            not all(np.isfinite(value).all() for value in values)
            or np.abs(axes @ axes.T - np.eye(3)).max() > _TOLERANCE
        ):
            raise UserError("the directions of a slice must be three unit vectors at right angles to each other")
        if values[4].min() <= 0:
            raise UserError(f"voxels of {values[4].tolist()} mm: every side must be longer than 0")
        return cls(*values)

    @classmethod
    def axial(cls, spacing: Sequence[float], offset_mm: float = 0.0) -> Geometry:
        """A transverse slice with the isocentre in its middle, ``offset_mm`` towards the head."""
        return cls.of((0, 0, offset_mm), (1, 0, 0), (0, 1, 0), (0, 0, 1), spacing)

    def shifted(self, distance_mm: float) -> Geometry:
        """The slice moved along its normal."""
        return replace(self, position=self.position + distance_mm * self.normal)

    def corner(self, image_size: tuple[int, int]) -> np.ndarray:
        """(3,) mm of the voxel in row 0 and column 0."""
        down, across, _ = self.spacing
        return self.position - (image_size[1] // 2) * across * self.column - (image_size[0] // 2) * down * self.row


def slice_spacing(slices: Sequence[Geometry]) -> float:
    """Signed mm between consecutive slices, along the normal; a single slice's own thickness.

    Raises:
        UserError: where they are not a stack of parallel slices at equal distances, which one volume needs.
    """
    first = slices[0]
    if len(slices) == 1:
        return float(first.spacing[2])
    steps = np.diff([one.position for one in slices], axis=0)
    spacing = float(steps[0] @ first.normal)
    for one in slices:
        axes = np.stack([one.column - first.column, one.row - first.row])
        if np.abs(axes).max() > _TOLERANCE or np.abs(one.spacing[:2] - first.spacing[:2]).max() > _TOLERANCE:
            raise UserError("the slices of the scan are not parallel: reconstruct them from files of their own")
    if abs(spacing) < 1e-3 or np.abs(steps - spacing * first.normal).max() > _TOLERANCE * abs(spacing):
        raise UserError("the slices of the scan are not at equal distances: reconstruct them from files of their own")
    return spacing


def affine(slices: Sequence[Geometry], image_size: tuple[int, int]) -> np.ndarray:
    """(4, 4) from (column, row, slice) indices to mm to the right, front and head, as in NIfTI.

    Raises:
        UserError: see ``slice_spacing``.
    """
    first = slices[0]
    matrix = np.eye(4)
    matrix[:3, 0] = first.spacing[1] * first.column
    matrix[:3, 1] = first.spacing[0] * first.row
    matrix[:3, 2] = slice_spacing(slices) * first.normal
    matrix[:3, 3] = first.corner(image_size)
    return _TO_RAS @ matrix
