"""The temporal PatchGAN discriminator: 3-D convolutions with spectral norm; every element of its output is a logit."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

WIDTHS = {1: (64, 128, 256, 256, 256, 256), 2: (64, 128, 128, 128, 128)}


class SpectralNorm(nn.Module):
    """Divide a weight by its largest singular value, followed by one power iteration a forward pass in training.

    PyTorch's own parametrisation updates u before v; the published networks update v first, and from stored vectors
    that have not converged the two differ.
    """

    u: Tensor
    v: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        rows = weight.flatten(1)
        self.register_buffer("u", F.normalize(torch.randn(rows.shape[0]), dim=0))
        self.register_buffer("v", F.normalize(torch.randn(rows.shape[1]), dim=0))

    def forward(self, weight: Tensor) -> Tensor:
        rows = weight.flatten(1)
        if self.training:
            with torch.no_grad():
                self.v.copy_(F.normalize(rows.T @ self.u, dim=0))
                self.u.copy_(F.normalize(rows @ self.v, dim=0))
        # Cloned: the next forward pass changes the vectors in place, before this one's backward pass may have run.
        return weight / torch.dot(self.u.clone(), rows @ self.v.clone())


class TemporalPatchDiscriminator(nn.Module):
    """(n, t, channels, h, w) in [-1, 1] -> logits (n, t, 128, h', w') (version 1: 256), h' about h / 2^layers.

    version: 2 is what the published recipe trains with (five layers), 1 has six. All layers but the last have spectral
    norm and no bias.
    """

    def __init__(self, channels: int = 3, version: Literal[1, 2] = 2) -> None:
        super().__init__()
        widths = (channels, *WIDTHS[version])
        layers: list[nn.Module] = []
        for number, (before, after) in enumerate(pairwise(widths)):
            last = number == len(widths) - 2
            # The published first layer is padded by one pixel, not by two.
            padding = (1, 1, 1) if number == 0 else (1, 2, 2)
            layer = nn.Conv3d(before, after, (3, 5, 5), stride=(1, 2, 2), padding=padding, bias=last)
            if last:
                nn.init.normal_(layer.weight, 0.0, 0.02)
                nn.init.zeros_(layer.get_parameter("bias"))
                layers.append(layer)
            else:
                parametrize.register_parametrization(layer, "weight", SpectralNorm(layer.weight))
                layers += [layer, nn.LeakyReLU(0.2)]
        self.conv = nn.Sequential(*layers)

    def forward(self, clip: Tensor) -> Tensor:
        return self.conv(clip.transpose(1, 2)).transpose(1, 2)
