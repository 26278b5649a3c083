"""The small transformer of the procedural default: one convolution, plain blocks, a narrow feed-forward layer."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from rmoe.models.maps import Backbone
from rmoe.moe.feed_forward import FeedForward


class Attention(nn.Module):
    """Self-attention over all patches of an image."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, C) -> (B, N, C)."""
        batch, tokens, width = x.shape
        q, k, v = self.qkv(x).reshape(batch, tokens, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(q, k, v)
        return self.proj(mixed.transpose(1, 2).reshape(batch, tokens, width))


class Block(nn.Module):
    """x + attn(norm1 x); x + mlp(norm2 x)."""

    def __init__(self, dim: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attn, self.mlp = Attention(dim, heads), FeedForward(dim, hidden)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, C) -> (B, N, C)."""
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class MosaicNet(Backbone):
    """Patches of 4 pixels, whole-image attention; returns maps like any backbone, and has ``channels``, ``strides``.

    Args:
        dim: width.
        hidden: of the feed-forward layers; deliberately narrow, so that experts have something to add.
        depth: blocks.
        heads: of the attention.
        patch: side of a patch.
        image_size: for which the position table is made; it is resized for others.
        levels: maps; each further one is the one before pooled 2x2 (for detection).
    """

    def __init__(
        self,
        dim: int = 32,
        hidden: int = 8,
        depth: int = 2,
        heads: int = 4,
        patch: int = 4,
        image_size: int = 32,
        levels: int = 1,
    ) -> None:
        super().__init__()
        self.channels, self.strides = (dim,) * levels, tuple(patch * 2**i for i in range(levels))
        self.patch_embed = nn.Conv2d(3, dim, patch, patch)
        side = image_size // patch
        self.position = nn.Parameter(nn.init.trunc_normal_(torch.empty(1, dim, side, side), std=0.02))
        self.blocks = nn.ModuleList(Block(dim, heads, hidden) for _ in range(depth))
        self.norm = nn.LayerNorm(dim)

    def forward(self, images: Tensor) -> list[Tensor]:
        """(B, 3, H, W), sides multiples of the patch -> maps (B, C, H / stride, W / stride), fine to coarse."""
        x = self.patch_embed(images)
        size, position = x.shape[2:], self.position
        if position.shape[2:] != size:
            position = functional.interpolate(position, size=size, mode="bilinear", align_corners=False)
        x = (x + position).flatten(2).transpose(1, 2)
        for block in self.blocks:
            x = block(x)
        maps = [self.norm(x).transpose(1, 2).unflatten(2, size)]
        for _ in self.strides[1:]:
            maps.append(functional.avg_pool2d(maps[-1], 2))
        return maps


class LinearHead(nn.Module):
    """Logits of every position of the finest map: the decode head of the procedural default."""

    def __init__(self, in_channels: Sequence[int], num_classes: int) -> None:
        super().__init__()
        self.conv_seg = nn.Conv2d(in_channels[0], num_classes, 1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """(B, C, h, w) each -> (B, classes, h, w) of the first."""
        return self.conv_seg(maps[0])


class PooledClassifier(nn.Module):
    """Any backbone, the mean of its last map, a linear head for each thing to tell.

    Args:
        backbone: images -> list of maps; has ``channels``.
        num_classes: of each head.
    """

    def __init__(self, backbone: Backbone, num_classes: Sequence[int]) -> None:
        super().__init__()
        self.backbone = backbone
        self.heads = nn.ModuleList(nn.Linear(backbone.channels[-1], count) for count in num_classes)

    def forward(self, images: Tensor) -> list[Tensor]:
        """(B, 3, H, W) -> logits (B, classes) of each head."""
        pooled = self.backbone(images)[-1].mean((2, 3))
        return [head(pooled) for head in self.heads]
