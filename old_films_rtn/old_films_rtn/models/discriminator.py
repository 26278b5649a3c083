"""The temporal PatchGAN discriminator: 3-D convolutions with spectral norm; every element of its output is a logit."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

WIDTHS = {1: (64, 128, 256, 256, 256, 256), 2: (64, 128, 128, 128, 128)}


class TemporalPatchDiscriminator(nn.Module):
    """(n, t, channels, h, w) in [-1, 1] -> logits (n, t, 128, h', w') (version 1: 256), h' about h / 2^layers.

    version: 2 is what the published recipe trains with (five layers), 1 has six. All layers but the last have spectral
    norm and no bias.
    """

    def __init__(self, channels: int = 3, version: Literal[1, 2] = 2) -> None:
        super().__init__()
        widths = (channels, *WIDTHS[version])
        layers: list[nn.Module] = []
        for number, (before, after) in enumerate(zip(widths, widths[1:], strict=False)):
            last = number == len(widths) - 2
            # The published first layer is padded by one pixel, not by two.
            padding = (1, 1, 1) if number == 0 else (1, 2, 2)
            layer = nn.Conv3d(before, after, (3, 5, 5), stride=(1, 2, 2), padding=padding, bias=last)
            if last:
                nn.init.normal_(layer.weight, 0.0, 0.02)
                nn.init.zeros_(layer.bias)
                layers.append(layer)
            else:
                layers += [spectral_norm(layer), nn.LeakyReLU(0.2)]
        self.conv = nn.Sequential(*layers)

    def forward(self, clip: Tensor) -> Tensor:
        return self.conv(clip.transpose(1, 2)).transpose(1, 2)
