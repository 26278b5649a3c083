"""The supervised counterpart: a multi-scale temporal convolutional network over the mouth features (LipForensics)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from av_deepfake.models.frontend import VideoFrontend
from av_deepfake.models.residual import ACTIVATIONS, Activation


class _Branch(nn.Module):
    """Convolution, batch norm, activation; padded by (k - 1) d on both sides, of which half is cut off on both sides."""

    def __init__(self, inputs: int, outputs: int, kernel: int, dilation: int, activation: Activation) -> None:
        super().__init__()
        padding = (kernel - 1) * dilation
        self.conv = nn.Conv1d(inputs, outputs, kernel, padding=padding, dilation=dilation)
        self.batchnorm = nn.BatchNorm1d(outputs)
        self.non_lin = ACTIVATIONS[activation](outputs)
        self.cut = padding // 2

    def forward(self, x: Tensor) -> Tensor:
        x = self.batchnorm(self.conv(x))
        return self.non_lin(x[:, :, self.cut : x.shape[2] - self.cut])


class _Block(nn.Module):
    """Twice: branches of several kernels, concatenated, dropout; plus what came in, through a convolution of 1."""

    def __init__(
        self, inputs: int, width: int, kernels: Sequence[int], dilation: int, dropout: float, activation: Activation
    ) -> None:
        super().__init__()
        outputs = width * len(kernels)
        self.kernels = len(kernels)
        for index, kernel in enumerate(kernels):
            setattr(self, f"cbcr0_{index}", _Branch(inputs, width, kernel, dilation, activation))
            setattr(self, f"cbcr1_{index}", _Branch(outputs, width, kernel, dilation, activation))
        self.dropout = nn.Dropout(dropout)
        # The published network has it where the shapes agree, too.
        self.downsample = nn.Conv1d(inputs, outputs, 1)
        self.relu_final = ACTIVATIONS[activation](outputs)

    def forward(self, x: Tensor) -> Tensor:
        kept = self.downsample(x)
        for half in range(2):
            branches = [getattr(self, f"cbcr{half}_{index}")(x) for index in range(self.kernels)]
            x = self.dropout(torch.cat(branches, 1))
        return self.relu_final(x + kept)


class _Network(nn.Module):
    def __init__(
        self, inputs: int, width: int, kernels: Sequence[int], layers: int, dropout: float, activation: Activation
    ) -> None:
        super().__init__()
        outputs = width * len(kernels)
        self.network = nn.Sequential(
            *(_Block(inputs if i == 0 else outputs, width, kernels, 2**i, dropout, activation) for i in range(layers))
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x)


class _Head(nn.Module):
    def __init__(
        self,
        inputs: int,
        width: int,
        kernels: Sequence[int],
        layers: int,
        dropout: float,
        activation: Activation,
        classes: int,
    ) -> None:
        super().__init__()
        self.mb_ms_tcn = _Network(inputs, width, kernels, layers, dropout, activation)
        self.tcn_output = nn.Linear(width * len(kernels), classes)


class MouthTCN(VideoFrontend):
    """Front-end, multi-scale TCN, mean over the valid frames, linear: LipForensics, and the word reader it starts from.

    Args:
        classes: 1 for the forgery logit (positive: fake), 500 for words.
        width: channels of each branch.
        kernels: of the branches.
        layers: blocks; block i has dilation 2^i.
        dropout: after each half of a block.
        channels, widths, blocks: of the front-end.
        activation: of all parts.
    """

    def __init__(
        self,
        classes: int = 1,
        width: int = 256,
        kernels: Sequence[int] = (3, 5, 7),
        layers: int = 4,
        dropout: float = 0.2,
        channels: int = 64,
        widths: Sequence[int] = (64, 128, 256, 512),
        blocks: Sequence[int] = (2, 2, 2, 2),
        activation: Activation = "prelu",
    ) -> None:
        super().__init__(channels, widths, blocks, activation)
        head: dict[str, Any] = {"classes": classes, "width": width, "kernels": list(kernels)}
        front = {name: self.config[name] for name in ("channels", "widths", "blocks", "activation")}  # as published
        self.config = {**head, "layers": layers, "dropout": dropout, **front}
        self.tcn = _Head(self.width, width, kernels, layers, dropout, activation, classes)

    def features(self, pictures: Tensor) -> Tensor:
        """(B, 1, T, H, W) -> (B, T, C)."""
        return super().forward(pictures)

    def encode(self, features: Tensor) -> Tensor:
        """(B, T, C) -> (B, width x kernels, T)."""
        return self.tcn.mb_ms_tcn(features.transpose(1, 2))

    def classify(self, encoded: Tensor, valid: Tensor | None = None) -> Tensor:
        """(B, D, T) and the valid frames, (B, T) bool -> logits (B, classes)."""
        if valid is None:
            return self.tcn.tcn_output(encoded.mean(2))
        weight = valid[:, None].to(encoded)
        return self.tcn.tcn_output((encoded * weight).sum(2) / weight.sum(2).clamp(min=1))

    def forward(self, pictures: Tensor, valid: Tensor | None = None) -> Tensor:
        """Logits of clips.

        Args:
            pictures: (B, 1, T, H, W), normalised grey.
            valid: (B, T) bool, the frames that count; all where None.

        Returns:
            (B, classes).
        """
        return self.classify(self.encode(self.features(pictures)), valid)
