"""The mouth front-end: a convolution over five frames, then a ResNet frame by frame (LipForensics, lip-reading TCN)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from av_deepfake.models.residual import ACTIVATIONS, Activation, Stages


class VideoFrontend(nn.Module):
    """One feature vector a frame from grey mouth pictures (spec: 3-D front-end and trunk).

    The children ``frontend3D`` and ``trunk`` carry the published names. The pictures may have any size from 16 pixels.
    The published form loses where things are in small pictures: of 24 pixels its average hardly tells a wide mouth from a
    round one, which nine cells behind a stem without pooling do.

    Args:
        channels: of the 3-D convolution.
        widths: channels of each stage of the ResNet.
        blocks: residual blocks of each stage.
        activation: ``swish`` in some published word readers.
        stem_pooling: whether the convolution is followed by a max pooling of two, as published.
        grid: the last stage is averaged in grid x grid cells, side by side in the vector; 1, over the whole picture, as
            published.
    """

    def __init__(
        self,
        channels: int = 64,
        widths: Sequence[int] = (64, 128, 256, 512),
        blocks: Sequence[int] = (2, 2, 2, 2),
        activation: Activation = "prelu",
        stem_pooling: bool = True,
        grid: int = 1,
    ) -> None:
        super().__init__()
        #: The arguments, as plain values: what a checkpoint stores.
        self.config: dict[str, Any] = {"channels": channels, "widths": list(widths), "blocks": list(blocks)}
        self.config |= {"activation": activation, "stem_pooling": stem_pooling, "grid": grid}
        pooling = nn.MaxPool3d((1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1))
        self.frontend3D = nn.Sequential(
            nn.Conv3d(1, channels, (5, 7, 7), stride=(1, 2, 2), padding=(2, 3, 3), bias=False),
            nn.BatchNorm3d(channels),
            ACTIVATIONS[activation](channels),
            pooling if stem_pooling else nn.Identity(),
        )
        self.trunk = Stages(2, channels, widths, blocks, activation=activation)
        # The layout of the weights decides that of what they give: 1.4 times as fast in small networks, no slower in large.
        if all(width % 8 == 0 for width in (channels, *widths)):  # others crash in torch's backward pass
            self.frontend3D.to(memory_format=torch.channels_last_3d)
            self.trunk.to(memory_format=torch.channels_last)
        self.grid, self.width = grid, widths[-1] * grid**2

    def forward(self, pictures: Tensor) -> Tensor:
        """Features of every frame.

        Args:
            pictures: (B, 1, T, H, W), normalised grey.

        Returns:
            (B, T, widths[-1] grid^2).
        """
        return self.pool(self.frontend3D(pictures))

    def pool(self, volume: Tensor) -> Tensor:
        """The trunk over every frame of what ``frontend3D`` returns: (B, c, T, h, w) -> (B, T, widths[-1] grid^2)."""
        frames = volume.transpose(1, 2)
        maps = self.trunk(frames.flatten(0, 1))
        features = maps.mean((2, 3)) if self.grid == 1 else adaptive_avg_pool2d(maps, self.grid).flatten(1)
        return features.unflatten(0, frames.shape[:2])
