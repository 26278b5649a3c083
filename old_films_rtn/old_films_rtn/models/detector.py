"""The defect detector of our own form: a small U-Net that is trained on the true mask, apart from the recurrences.

The published network has none: there the gates are all that says where a defect is.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SEEN = 11
"""Channels of what it is shown of a frame: see ``detection.views``."""
WIDTHS = (16, 24, 32, 48, 48)
TALL = 7
"""Height of the kernels at an eighth and a sixteenth of the size: a scratch is known by how far it runs."""


def _block(inputs: int, outputs: int, stride: int = 1, height: int = 3) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, (height, 3), stride=stride, padding=(height // 2, 1)), nn.LeakyReLU(0.1)
    )


class DefectDetector(nn.Module):
    """Logits (n, 1, h, w) of what is shown (n, ``SEEN``, h, w); h and w multiples of 16.

    The logit of a frame depends on ``REACH`` pixels around it, which is for the posts, folds and letters that a scratch is
    mistaken for: they end, lean, move with the scene.
    """

    REACH = 176

    def __init__(self) -> None:
        super().__init__()
        down = [nn.Sequential(_block(SEEN, WIDTHS[0]), _block(WIDTHS[0], WIDTHS[0]))]
        for level, (above, width) in enumerate(pairwise(WIDTHS), start=1):
            tall = TALL if level > 2 else 3
            layers = [_block(above, width, stride=2), _block(width, width, height=tall)]
            if level == len(WIDTHS) - 1:
                layers.append(_block(width, width, height=tall))
            down.append(nn.Sequential(*layers))
        self.down = nn.ModuleList(down)
        self.across = nn.ModuleList(nn.Conv2d(below, width, 1) for width, below in pairwise(WIDTHS))
        self.up = nn.ModuleList(_block(width, width) for width in WIDTHS[:-1])
        self.out = nn.Conv2d(WIDTHS[0], 1, 3, padding=1)
        # Defects are rare: nothing is one before training.
        nn.init.constant_(self.out.get_parameter("bias"), -3)

    def forward(self, shown: Tensor) -> Tensor:
        levels = []
        for layer in self.down:
            levels.append(layer(shown if not levels else levels[-1]))
        below = levels.pop()
        for level in reversed(range(len(levels))):
            below = F.interpolate(self.across[level](below), scale_factor=2, mode="bilinear", align_corners=False)
            below = self.up[level](levels[level] + below)
        return self.out(below)


def probabilities(logits: Tensor) -> Tensor:
    """Of a defect, of logits of any shape."""
    return torch.sigmoid(logits.float())
