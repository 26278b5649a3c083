"""Both audio front-ends: one feature vector a video frame, from log-mel bands (RealForensics) or the waveform."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool1d

from av_deepfake.models.residual import Stages

#: Samples of 16 kHz sound that a video frame of 1/25 s lasts.
SAMPLES_PER_FRAME = 640


class MelEncoder(Stages):
    """A ResNet over time and frequency that keeps time after its stem: four mel columns become one vector.

    Args:
        widths: channels of each stage; the stem has those of the first.
        blocks: residual blocks of each stage.
    """

    def __init__(self, widths: Sequence[int] = (64, 128, 256, 512), blocks: Sequence[int] = (2, 2, 2, 2)) -> None:
        super().__init__(2, widths[0], widths, blocks, stride=(1, 2), activation="relu")
        self.conv1 = nn.Conv2d(1, widths[0], 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        if all(width % 8 == 0 for width in widths):  # for speed; other widths crash in torch's backward pass
            self.to(memory_format=torch.channels_last)
        self.width = widths[-1]

    def forward(self, x: Tensor) -> Tensor:
        """(B, 1, 4T, 80) log-mel bands -> (B, T, widths[-1])."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        return super().forward(x).mean(3).transpose(1, 2)


class WaveformEncoder(Stages):
    """A one-dimensional ResNet over the samples (the audio model of the lip-reading repository).

    Args:
        widths: channels of each of the four stages; the stem has those of the first.
        blocks: residual blocks of each stage.
    """

    def __init__(self, widths: Sequence[int] = (64, 128, 256, 512), blocks: Sequence[int] = (2, 2, 2, 2)) -> None:
        super().__init__(1, widths[0], widths, blocks)
        if len(widths) != 4:
            raise ValueError(f"widths {tuple(widths)}: the waveform encoder has four stages (their strides make 640)")
        self.conv1 = nn.Conv1d(1, widths[0], 80, stride=4, padding=38, bias=False)
        self.bn1 = nn.BatchNorm1d(widths[0])
        self.relu = nn.PReLU(widths[0])
        self.width = widths[-1]

    def forward(self, x: Tensor) -> Tensor:
        """(B, 1, 640 T) samples at 16 kHz, zero mean and unit variance -> (B, T, widths[-1])."""
        x = super().forward(self.relu(self.bn1(self.conv1(x))))
        return avg_pool1d(x, 20, stride=20).transpose(1, 2)
