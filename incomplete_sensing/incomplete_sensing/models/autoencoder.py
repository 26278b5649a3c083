"""Fully connected networks on the pixels."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn


class AutoEncoder(nn.Module):
    """The published network of the MNIST tasks: n - 1000 - hidden - 1000 - n, no activation at the middle.

    Entry names are the published ones.

    Args:
        dim_input: n.
        dim_hid: width of the middle (the published tasks use 1000: no bottleneck).
        residual: add the input.
        width: of the other two layers, fixed at 1000 in the published code.
    """

    def __init__(self, dim_input: int = 784, dim_hid: int = 1000, residual: bool = True, width: int = 1000) -> None:
        super().__init__()
        self.residual = residual
        self.encoder = nn.Sequential(nn.Linear(dim_input, width), nn.ReLU(), nn.Linear(width, dim_hid))
        self.decoder = nn.Sequential(nn.Linear(dim_hid, width), nn.ReLU(), nn.Linear(width, dim_input))

    def encode(self, images: Tensor) -> Tensor:
        """(B, ...) -> (B, dim_hid)."""
        return self.encoder(images.flatten(1))

    def forward(self, images: Tensor) -> Tensor:
        """(B, ...) of n pixels each -> the same shape."""
        decoded = self.decoder(self.encode(images)).reshape(images.shape)
        return decoded + images if self.residual else decoded


class MLP(nn.Module):
    """Linear layers with ReLU and dropout between them, n - hidden ... - n; with the input added where ``residual``."""

    def __init__(
        self, dim_input: int = 64, hidden: Sequence[int] = (256, 256), residual: bool = True, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.residual = residual
        layers: list[nn.Module] = []
        for size, following in zip((dim_input, *hidden), (*hidden, dim_input), strict=True):
            layers += [nn.Linear(size, following), nn.ReLU(), *([nn.Dropout(dropout)] if dropout else [])]
        self.layers = nn.Sequential(*layers[: -2 if dropout else -1])

    def forward(self, images: Tensor) -> Tensor:
        """(B, ...) of n pixels each -> the same shape."""
        values = self.layers(images.flatten(1)).reshape(images.shape)
        return values + images if self.residual else values
