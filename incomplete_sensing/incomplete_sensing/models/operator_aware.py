"""``OperatorAware``: networks that are given the measurement and its operator, not an image A^+ y."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

if TYPE_CHECKING:
    from incomplete_sensing.operators import OperatorFamily


class OperatorAware(nn.Module):
    """A function of (y, A_g), and of which entries of y it may use."""

    def forward(
        self, measurements: Tensor, operators: OperatorFamily, g: int | Tensor, given: Tensor | None = None
    ) -> Tensor:
        """(B, *measurement_shape) -> (B, C, H, W). given: 0/1, broadcastable to them; all that is observed where None."""
        raise NotImplementedError
