"""Swin Transformer (Liu et al. 2021): as dense-prediction backbone and as classifier, under the published entry names.

The two published forms differ in more than their heads. For dense prediction (the segmentation and detection forks)
maps of any size are padded with zeros to whole windows after norm1, the padding takes part in attention, every stage's
output has its own norm, and the shift stays on where a map is one window. The classifier has a fixed image size; where
a map is not larger than the window, the window shrinks to it and is not shifted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from rmoe.models.drop_path import DropPath
from rmoe.models.maps import Backbone
from rmoe.moe.feed_forward import FeedForward
from rmoe.moe.layer import ResidualMoE


def _split(x: Tensor, window: int) -> Tensor:
    """(B, H, W, C) -> (B, windows, window^2, C)."""
    batch, height, width, channels = x.shape
    x = x.view(batch, height // window, window, width // window, window, channels)
    return x.transpose(2, 3).reshape(batch, -1, window * window, channels)


def _join(windows: Tensor, window: int, height: int, width: int) -> Tensor:
    """The inverse of ``_split``."""
    batch, _, _, channels = windows.shape
    x = windows.view(batch, height // window, width // window, window, window, channels)
    return x.transpose(2, 3).reshape(batch, height, width, channels)


def relative_position_index(window: int) -> Tensor:
    """Row of the bias table for each pair of positions of a window: (window^2, window^2)."""
    rows, columns = torch.arange(window * window) // window, torch.arange(window * window) % window
    vertical = rows[:, None] - rows[None, :] + window - 1
    return vertical * (2 * window - 1) + columns[:, None] - columns[None, :] + window - 1


def shift_mask(height: int, width: int, window: int, shift: int, device: torch.device) -> Tensor:
    """0 where two positions of a shifted window are neighbours in the image, else -100: (windows, window^2, window^2)."""

    def bands(length: int) -> Tensor:
        position = torch.arange(length, device=device)
        return (position >= length - window).long() + (position >= length - shift).long()

    region = (3 * bands(height)[:, None] + bands(width)[None, :]).view(1, height, width, 1)
    region = _split(region, window)[0, :, :, 0]
    return torch.where(region[:, :, None] == region[:, None, :], 0.0, -100.0)


class WindowAttention(nn.Module):
    """Attention inside windows, with a learned bias for each relative position.

    Args:
        dim: C.
        window: side of the window.
        num_heads: heads.
        qkv_bias: whether queries, keys and values have one.
    """

    def __init__(self, dim: int, window: int, num_heads: int, qkv_bias: bool = True) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.index: Tensor
        self.make_bias(window)
        self.register_buffer("index", relative_position_index(window).flatten(), persistent=False)
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)

    def make_bias(self, window: int) -> None:
        """Make what ``bias`` needs: the table of (2 window - 1)^2 entries a head."""
        self.relative_position_bias_table = nn.Parameter(torch.empty((2 * window - 1) ** 2, self.num_heads))
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)

    def table(self) -> Tensor:
        """((2 window - 1)^2, heads)."""
        return self.relative_position_bias_table

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Attend inside each window.

        Args:
            x: (B, windows, N, C).
            mask: (windows, N, N) added to the scores.
        """
        batch, windows, positions, channels = x.shape
        heads = self.num_heads
        q, k, v = (
            self.qkv(x)
            .view(batch, windows, positions, 3, heads, channels // heads)
            .permute(3, 0, 1, 4, 2, 5)
            .reshape(3, batch, windows * heads, positions, channels // heads)
        )
        bias = self.table()[self.index].view(positions, positions, heads).permute(2, 0, 1)
        bias = bias.expand(windows, -1, -1, -1) if mask is None else bias + mask[:, None].to(bias.dtype)
        bias = bias.reshape(1, windows * heads, positions, positions).to(q.dtype)
        y = functional.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        y = y.view(batch, windows, heads, positions, -1).transpose(2, 3).reshape(x.shape)
        return self.proj(y)


class SwinBlock(nn.Module):
    """x + attention(norm1 x), then x + feed-forward(norm2 x).

    Args:
        dim: C.
        num_heads: heads.
        window: side of the window.
        shift: of the windows; 0: none.
        mlp_ratio: H / C.
        drop_path: rate of stochastic depth.
        attention: class of the attention.
        mlp: the feed-forward layer; None: ``FeedForward``.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        window: int,
        shift: int,
        mlp_ratio: float = 4.0,
        drop_path: float = 0.0,
        attention: Callable[[int, int, int], nn.Module] = WindowAttention,
        mlp: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.window, self.shift = window, shift
        self.norm1 = nn.LayerNorm(dim)
        self.attn = attention(dim, window, num_heads)
        self.drop_path = DropPath(drop_path)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = FeedForward(dim, int(dim * mlp_ratio)) if mlp is None else mlp

    def forward(self, x: Tensor, padding: Tensor | None = None) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C); padding: (B, H, W) bool, positions that a mixture's statistics leave out."""
        x = x + self.drop_path(self._attend(self.norm1(x)))
        y = self.norm2(x)
        y = self.mlp(y, padding) if isinstance(self.mlp, ResidualMoE) else self.mlp(y)
        return x + self.drop_path(y)

    def _attend(self, x: Tensor) -> Tensor:
        _, height, width, _ = x.shape
        window, shift = self.window, self.shift
        right, bottom = -width % window, -height % window
        if right or bottom:
            x = functional.pad(x, (0, 0, 0, right, 0, bottom))
        rows, columns = x.shape[1:3]
        mask = None
        if shift:
            x = x.roll((-shift, -shift), (1, 2))
            mask = shift_mask(rows, columns, window, shift, x.device)
        x = _join(self.attn(_split(x, window), mask), window, rows, columns)
        if shift:
            x = x.roll((shift, shift), (1, 2))
        return x[:, :height, :width]


class PatchMerging(nn.Module):
    """Four neighbours become one position of twice the width; zeros fill an odd side."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * dim)
        self.reduction = nn.Linear(4 * dim, 2 * dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, ceil(H/2), ceil(W/2), 2C)."""
        _, height, width, _ = x.shape
        if height % 2 or width % 2:
            x = functional.pad(x, (0, 0, 0, width % 2, 0, height % 2))
        parts = (x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2])
        return self.reduction(self.norm(torch.cat(parts, dim=-1)))


class PatchEmbed(nn.Module):
    """A convolution over whole patches and a LayerNorm; zeros fill the last patch."""

    def __init__(self, dim: int, patch: int = 4, in_channels: int = 3) -> None:
        super().__init__()
        self.patch = patch
        self.proj = nn.Conv2d(in_channels, dim, patch, stride=patch)
        self.norm = nn.LayerNorm(dim)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, ceil(H/4), ceil(W/4), C)."""
        height, width = images.shape[2:]
        images = functional.pad(images, (0, -width % self.patch, 0, -height % self.patch))
        return self.norm(self.proj(images).permute(0, 2, 3, 1))


class SwinStage(nn.Module):
    """Blocks of one width, then (but for the last stage) patch merging."""

    def __init__(self, blocks: Sequence[nn.Module], merge: nn.Module | None) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.downsample = merge

    def forward(self, x: Tensor, padding: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(B, H, W, C) -> the stage's output, and the input of the next stage."""
        for block in self.blocks:
            x = block(x, padding)
        return x, x if self.downsample is None else self.downsample(x)


def drop_path_rates(rate: float, depths: Sequence[int]) -> list[list[float]]:
    """Rates that grow evenly from 0 to ``rate`` over all blocks, by stage."""
    rates = torch.linspace(0, rate, sum(depths)).tolist()
    ends = torch.tensor(depths).cumsum(0).tolist()
    return [rates[end - depth : end] for end, depth in zip(ends, depths, strict=True)]


def init_weights(module: nn.Module) -> None:
    """The published initialisation: linear layers N(0, 0.02) truncated, biases 0."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


class SwinBackbone(Backbone):
    """Swin for dense prediction: four maps of strides 4, 8, 16, 32 (published: the segmentation and detection forks).

    Args:
        embed_dim: C of the first stage; it doubles with each.
        depths: blocks a stage.
        num_heads: heads a stage.
        window: side of the window.
        mlp_ratio: H / C.
        drop_path_rate: of the last block; 0 in the first.
        out_indices: stages whose maps are returned.
        frozen_stages: the patch embedding and this many stages stay as they are (-1: nothing, 0: the embedding).

    Attributes:
        channels: of the returned maps.
        strides: of the returned maps.
    """

    def __init__(
        self,
        embed_dim: int = 96,
        depths: Sequence[int] = (2, 2, 6, 2),
        num_heads: Sequence[int] = (3, 6, 12, 24),
        window: int = 7,
        mlp_ratio: float = 4.0,
        drop_path_rate: float = 0.2,
        out_indices: Sequence[int] = (0, 1, 2, 3),
        frozen_stages: int = -1,
    ) -> None:
        super().__init__()
        widths = [embed_dim * 2**stage for stage in range(len(depths))]
        rates = drop_path_rates(drop_path_rate, depths)
        self.patch_embed = PatchEmbed(embed_dim)
        self.layers = nn.ModuleList(
            SwinStage(
                [
                    SwinBlock(width, heads, window, window // 2 * (block % 2), mlp_ratio, rates[stage][block])
                    for block in range(depths[stage])
                ],
                PatchMerging(width) if stage + 1 < len(depths) else None,
            )
            for stage, (width, heads) in enumerate(zip(widths, num_heads, strict=True))
        )
        self.out_indices = tuple(out_indices)
        for stage in self.out_indices:
            self.add_module(f"norm{stage}", nn.LayerNorm(widths[stage]))
        self.channels = [widths[stage] for stage in self.out_indices]
        self.strides = [4 * 2**stage for stage in self.out_indices]
        self.apply(init_weights)
        self.frozen_stages = frozen_stages
        self._freeze()

    def _frozen(self) -> list[nn.Module]:
        return [] if self.frozen_stages < 0 else [self.patch_embed, *self.layers[: self.frozen_stages]]

    def _freeze(self) -> None:
        for module in self._frozen():
            module.eval().requires_grad_(False)

    def train(self, mode: bool = True) -> SwinBackbone:
        """As usual, but frozen stages stay in evaluation mode."""
        super().train(mode)
        self._freeze()
        return self

    def forward(self, images: Tensor, padding: Tensor | None = None) -> list[Tensor]:
        """Feature maps of the chosen stages.

        Args:
            images: (B, 3, H, W), normalised; any size.
            padding: (B, H, W) bool, True where the batch was padded: left out of the mixtures' statistics.

        Returns:
            (B, C_i, ceil(H / stride_i), ceil(W / stride_i)) each, contiguous.
        """
        x, maps = self.patch_embed(images), []
        for stage, layer in enumerate(self.layers):
            at_stage = None if padding is None else _shrink(padding, x.shape[1:3])
            out, x = layer(x, at_stage)
            if stage in self.out_indices:
                maps.append(self.get_submodule(f"norm{stage}")(out).permute(0, 3, 1, 2).contiguous())
        return maps


def _shrink(padding: Tensor, size: Sequence[int]) -> Tensor:
    return functional.interpolate(padding[:, None].float(), size=tuple(size), mode="nearest")[:, 0] > 0.5


class SwinClassifier(nn.Module):
    """Swin for classification at one image size (published: microsoft/Swin-Transformer).

    Args:
        num_classes: width of the head.
        image_size: side of the images.
        embed_dim: C of the first stage.
        depths: blocks a stage.
        num_heads: heads a stage.
        window: side of the window; a smaller map makes it smaller.
        mlp_ratio: H / C.
        drop_path_rate: of the last block.
        block: makes a block from (stage, number, dim, heads, window, shift, drop path); for variants.
    """

    def __init__(
        self,
        num_classes: int = 1000,
        image_size: int = 224,
        embed_dim: int = 96,
        depths: Sequence[int] = (2, 2, 6, 2),
        num_heads: Sequence[int] = (3, 6, 12, 24),
        window: int = 7,
        mlp_ratio: float = 4.0,
        drop_path_rate: float = 0.1,
        block: Callable[..., nn.Module] | None = None,
    ) -> None:
        super().__init__()
        self.image_size, self.num_classes = image_size, num_classes
        rates = drop_path_rates(drop_path_rate, depths)
        self.patch_embed = PatchEmbed(embed_dim)
        stages, side = [], -(-image_size // 4)
        for stage, (depth, heads) in enumerate(zip(depths, num_heads, strict=True)):
            width, size = embed_dim * 2**stage, min(window, side)
            # A map of one window is not shifted.
            shift = 0 if side <= window else window // 2
            blocks = []
            for number in range(depth):
                given = (width, heads, size, shift * (number % 2))
                rate = rates[stage][number]
                blocks.append(
                    SwinBlock(*given, mlp_ratio, rate) if block is None else block(stage, number, *given, rate)
                )
            stages.append(SwinStage(blocks, PatchMerging(width) if stage + 1 < len(depths) else None))
            side = -(-side // 2)
        self.layers = nn.ModuleList(stages)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, num_classes) if num_classes else nn.Identity()
        self.apply(init_weights)

    def forward_features(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) -> (B, C) mean of the normalised last map."""
        if images.shape[2:] != (self.image_size, self.image_size):
            size = "x".join(str(side) for side in images.shape[2:])
            raise ValueError(f"this Swin classifies images of {self.image_size}x{self.image_size}, not {size}")
        x = self.patch_embed(images)
        for layer in self.layers:
            _, x = layer(x)
        return self.norm(x).flatten(1, 2).mean(1)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, S, S), normalised -> (B, classes) logits."""
        return self.head(self.forward_features(images))


VARIANTS: dict[str, dict[str, Any]] = {
    "swin_t": {"embed_dim": 96, "depths": (2, 2, 6, 2), "num_heads": (3, 6, 12, 24)},
    "swin_s": {"embed_dim": 96, "depths": (2, 2, 18, 2), "num_heads": (3, 6, 12, 24)},
    "swin_b": {"embed_dim": 128, "depths": (2, 2, 18, 2), "num_heads": (4, 8, 16, 32)},
    "swin_l": {"embed_dim": 192, "depths": (2, 2, 18, 2), "num_heads": (6, 12, 24, 48)},
}
