"""Operators given as matrices: compressed sensing, and whatever a user has as a matrix."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from incomplete_sensing.matrix_table import apply_matrices
from incomplete_sensing.operators.base import OperatorFamily
from shared_utils import UserError


class DenseOperators(OperatorFamily):
    """y = A_g vec(x).

    Args:
        matrices: (G, m, n) real, n = C H W.
        image_shape: (C, H, W).
        rows: (G,) how many rows of each operator count, where they differ; the rows after them are zero.
    """

    kind = "dense"
    stored_as_matrices = True
    matrices: Tensor
    rows: Tensor

    def __init__(self, matrices: Tensor, image_shape: Sequence[int], rows: Tensor | None = None) -> None:
        matrices = torch.as_tensor(matrices)
        if matrices.ndim != 3:
            raise UserError(f"matrices have shape (G, m, n), got {tuple(matrices.shape)}")
        num_operators, num_rows, num_columns = matrices.shape
        super().__init__(image_shape, num_operators, (num_rows,))
        if num_columns != self.num_pixels:
            raise UserError(
                f"matrices have {num_columns} columns, images of shape {self.image_shape} {self.num_pixels} pixels"
            )
        if num_rows > num_columns:
            raise UserError(
                f"m = {num_rows} > n = {num_columns}: the measurements are complete, there is nothing to learn"
            )
        rows = torch.full((num_operators,), num_rows) if rows is None else torch.as_tensor(rows)
        if not bool(torch.isfinite(matrices).all()):
            raise UserError("the operators' matrices hold NaN or infinite entries")
        keep = torch.arange(num_rows) < rows[:, None]
        matrices = matrices if bool(keep.all()) else matrices * keep[:, :, None]
        self.register_buffer("matrices", matrices.to(torch.float32).contiguous())
        self.register_buffer("rows", rows.long())

    def full_matrices(self) -> Tensor:
        return self.matrices

    def _forward(self, images: Tensor, g: int | Tensor) -> Tensor:
        return apply_matrices(self.matrices, images.flatten(1), g)

    def _adjoint(self, measurements: Tensor, g: int | Tensor) -> Tensor:
        return apply_matrices(self.matrices.mT, measurements, g).reshape(-1, *self.image_shape)

    def _pinv(self, measurements: Tensor, g: int | Tensor) -> Tensor:
        inverses = self.pseudo_inverses
        images = apply_matrices(inverses, measurements.to(inverses.dtype), g)
        return images.to(measurements.dtype).reshape(-1, *self.image_shape)

    def observed(self, g: int | Tensor) -> Tensor:
        rows = self.rows[g].reshape(-1, 1)
        return (torch.arange(self.measurement_shape[0], device=rows.device) < rows).to(self.matrices.dtype)

    @property
    def num_measurements(self) -> Tensor:
        return self.rows.cpu()
