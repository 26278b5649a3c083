"""``ObservedRows``: operators as matrices of what they observe, for networks that compute with A itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from incomplete_sensing.matrix_table import apply_small
from shared_utils import UserError

if TYPE_CHECKING:
    from incomplete_sensing.operators.base import OperatorFamily

LIMIT = 2**28
"""Entries of all operators as matrices, unobserved rows included."""


class ObservedRows:
    """matrices (G, r, n): the observed rows of every operator, padded by zero rows to the most that one of them observes.

    observed (G, r): 1 where there is a row; places (G, r): where it is in a flattened measurement.

    Raises:
        UserError: the matrices would be too large.
    """

    def __init__(self, operators: OperatorFamily) -> None:
        G, n = operators.num_operators, operators.num_pixels
        seen = torch.cat(
            [operators.observed(g).expand(1, *operators.measurement_shape).reshape(1, -1) for g in range(G)]
        )
        if G * n * seen.shape[1] > LIMIT:
            raise UserError(
                f"{G} operators of {seen.shape[1]} x {n} are too large for a network that takes them as matrices: "
                "take unrolled, or smaller images"
            )
        most = int(seen.sum(1).max())
        order = seen.argsort(dim=1, descending=True, stable=True)[:, :most]
        self.places = order
        self.observed = seen.gather(1, order)
        full = operators.full_matrices()
        self.matrices = full.gather(1, order[:, :, None].expand(-1, -1, n)) * self.observed[:, :, None]

    def take(self, values: Tensor, g: Tensor) -> Tensor:
        """The observed entries of (B, *measurement_shape): (B, r), zero where an operator has fewer."""
        return values.flatten(1).gather(1, self.places[g]) * self.observed[g]

    def apply(self, images: Tensor, g: Tensor) -> Tensor:
        """A_g x of flattened images (B, n): (B, r)."""
        return apply_small(self.matrices, images, g)
