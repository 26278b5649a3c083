"""The mouth front-end: a convolution over five frames, then a ResNet frame by frame (LipForensics, lip-reading TCN)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from av_deepfake.models.residual import ACTIVATIONS, Activation, Stages


class VideoFrontend(nn.Module):
    """One feature vector a frame from grey mouth pictures (spec: 3-D front-end and trunk).

    The children ``frontend3D`` and ``trunk`` carry the published names. The pictures may have any size from 16 pixels:
    the last stage is averaged over what is left of it.

    Args:
        channels: of the 3-D convolution.
        widths: channels of each stage of the ResNet.
        blocks: residual blocks of each stage.
        activation: ``swish`` in some published word readers.
    """

    def __init__(
        self,
        channels: int = 64,
        widths: Sequence[int] = (64, 128, 256, 512),
        blocks: Sequence[int] = (2, 2, 2, 2),
        activation: Activation = "prelu",
    ) -> None:
        super().__init__()
        #: The arguments, as plain values: what a checkpoint stores.
        self.config: dict[str, Any] = {"channels": channels, "widths": list(widths), "blocks": list(blocks)}
        self.config["activation"] = activation
        self.frontend3D = nn.Sequential(
            nn.Conv3d(1, channels, (5, 7, 7), stride=(1, 2, 2), padding=(2, 3, 3), bias=False),
            nn.BatchNorm3d(channels),
            ACTIVATIONS[activation](channels),
            nn.MaxPool3d((1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1)),
        )
        self.trunk = Stages(2, channels, widths, blocks, activation=activation)
        # The layout of the weights decides that of what they give: 1.4 times as fast in small networks, no slower in large.
        if all(width % 8 == 0 for width in (channels, *widths)):  # others crash in torch's backward pass
            self.frontend3D.to(memory_format=torch.channels_last_3d)
            self.trunk.to(memory_format=torch.channels_last)
        self.width = widths[-1]

    def forward(self, pictures: Tensor) -> Tensor:
        """Features of every frame.

        Args:
            pictures: (B, 1, T, H, W), normalised grey.

        Returns:
            (B, T, widths[-1]).
        """
        return self.pool(self.frontend3D(pictures))

    def pool(self, volume: Tensor) -> Tensor:
        """The trunk over every frame of what ``frontend3D`` returns: (B, c, T, h, w) -> (B, T, widths[-1])."""
        frames = volume.transpose(1, 2)
        features = self.trunk(frames.flatten(0, 1)).mean((2, 3))
        return features.unflatten(0, frames.shape[:2])
