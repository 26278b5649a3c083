"""UperNet (Xiao et al. 2018) and the auxiliary FCN head, under the entry names of the published segmentation models.

Published code: mmseg 0.x ``UPerHead`` and ``FCNHead``. Logits stay at the resolution of the finest map (stride 4);
``segmenter`` resizes them to the label.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from shared_utils import UserError
from shared_utils.distributed import world_size


def resize(x: Tensor, size: tuple[int, int] | torch.Size) -> Tensor:
    """(B, C, h, w) -> (B, C, *size), bilinear, corners not aligned."""
    return functional.interpolate(x, size=tuple(size), mode="bilinear", align_corners=False)


class ConvBlock(nn.Module):
    """Convolution without bias, BatchNorm (SyncBN where the trainer says ``sync_batchnorm``), ReLU."""

    def __init__(self, in_channels: int, channels: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, channels, kernel, padding=kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, h, w) -> (B, channels, h, w)."""
        return functional.relu(self.bn(self.conv(x)))


def _logits(channels: int, num_classes: int) -> nn.Conv2d:
    conv = nn.Conv2d(channels, num_classes, 1)
    nn.init.normal_(conv.weight, std=0.01)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return conv


class UperNetHead(nn.Module):
    """Pooled context of the last map, a top-down pyramid over all maps, one fused map, logits.

    Args:
        in_channels: of the maps, fine to coarse; two or more.
        num_classes: of the logits.
        channels: width of the head.
        pool_scales: sides of the pooled maps.
        dropout: of whole channels, before the logits.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        num_classes: int,
        channels: int = 512,
        pool_scales: Sequence[int] = (1, 2, 3, 6),
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        *lower, last = in_channels
        if not lower:
            raise UserError("UperNet needs two maps or more: the backbone returns one")
        self.pool_scales = tuple(pool_scales)
        self.psp_modules = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(scale), ConvBlock(last, channels, 1)) for scale in pool_scales
        )
        self.bottleneck = ConvBlock(last + len(self.pool_scales) * channels, channels, 3)
        self.lateral_convs = nn.ModuleList(ConvBlock(width, channels, 1) for width in lower)
        self.fpn_convs = nn.ModuleList(ConvBlock(channels, channels, 3) for _ in lower)
        self.fpn_bottleneck = ConvBlock(len(in_channels) * channels, channels, 3)
        self.dropout = nn.Dropout2d(dropout)
        self.conv_seg = _logits(channels, num_classes)

    def _refuse_single_image(self, batch: int) -> None:
        # BatchNorm has no variance to train on where a channel has a single value: one image pooled to 1 x 1.
        for scale, branch in zip(self.pool_scales, self.psp_modules, strict=True):
            norm = branch.get_submodule("1.bn")
            synced = isinstance(norm, nn.SyncBatchNorm) and world_size() > 1
            if scale == 1 and batch == 1 and norm.training and not synced:
                raise UserError(
                    "UperNet cannot train on a batch of one image: its branch pooled to 1x1 leaves BatchNorm one value "
                    "a channel; use a batch size of 2 or more (drop the last batch where it is smaller)"
                )

    def _context(self, x: Tensor) -> Tensor:
        pooled = [resize(branch(x), x.shape[2:]) for branch in self.psp_modules]
        return self.bottleneck(torch.cat([x, *pooled], dim=1))

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Logits at the finest map's resolution.

        Args:
            maps: (B, C_i, h_i, w_i) each, fine to coarse.

        Returns:
            (B, classes, h_0, w_0).

        Raises:
            UserError: in training, a batch of one image.
        """
        self._refuse_single_image(len(maps[0]))
        levels = [lateral(x) for lateral, x in zip(self.lateral_convs, maps, strict=False)]
        levels.append(self._context(maps[-1]))
        for i in range(len(levels) - 1, 0, -1):
            levels[i - 1] = levels[i - 1] + resize(levels[i], levels[i - 1].shape[2:])
        levels = [*(conv(x) for conv, x in zip(self.fpn_convs, levels, strict=False)), levels[-1]]
        finest = levels[0].shape[2:]
        fused = torch.cat([levels[0], *(resize(x, finest) for x in levels[1:])], dim=1)
        return self.conv_seg(self.dropout(self.fpn_bottleneck(fused)))


class FCNHead(nn.Module):
    """The auxiliary head: one 3x3 block on one of the maps, logits.

    Args:
        in_channels: of that map.
        num_classes: of the logits.
        index: which of the maps.
        channels: width of the head.
        dropout: of whole channels, before the logits.
    """

    def __init__(
        self, in_channels: int, num_classes: int, index: int = 2, channels: int = 256, dropout: float = 0.1
    ) -> None:
        super().__init__()
        self.index = index
        self.convs = nn.ModuleList([ConvBlock(in_channels, channels, 3)])
        self.dropout = nn.Dropout2d(dropout)
        self.conv_seg = _logits(channels, num_classes)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """(B, C_i, h_i, w_i) each -> (B, classes, h_index, w_index)."""
        return self.conv_seg(self.dropout(self.convs[0](maps[self.index])))
