"""The dense feed-forward layer of a transformer block: what becomes experts."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn


class FeedForward(nn.Module):
    """fc2(act(fc1(x))), the published names of Swin and CvT.

    Args:
        dim: C, of the tokens.
        hidden: H.
        act: element-wise; GELU by the error function where not given (Swin; CvT has x sigmoid(1.702 x)).
        bias: whether fc1 and fc2 have one.
        dropout: after the activation, and after fc2.
    """

    def __init__(
        self,
        dim: int,
        hidden: int,
        act: Callable[[Tensor], Tensor] | None = None,
        bias: tuple[bool, bool] = (True, True),
        dropout: tuple[float, float] = (0.0, 0.0),
    ) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden, bias=bias[0])
        self.act = nn.GELU() if act is None else act
        self.drop1 = nn.Dropout(dropout[0])
        self.fc2 = nn.Linear(hidden, dim, bias=bias[1])
        self.drop2 = nn.Dropout(dropout[1])

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) -> (..., C)."""
        return self.drop2(self.fc2(self.drop1(self.act(self.fc1(x)))))
