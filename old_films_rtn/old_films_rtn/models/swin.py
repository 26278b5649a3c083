"""The spatial restoration transformer R: residual groups of Swin blocks at half resolution between convolutions.

After "Bringing Old Films Back to Life" (CVPR 2022), section 3.2; attention as in "Swin Transformer" (ICCV 2021).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def relative_position_index(window: int) -> Tensor:
    """(window^2, window^2): which row of the bias table belongs to a pair of places in a window."""
    places = torch.stack(torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")).flatten(1)
    relative = (places[:, :, None] - places[:, None, :]) + window - 1
    return relative[0] * (2 * window - 1) + relative[1]


def shift_mask(height: int, width: int, window: int, shift: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Attention mask of a shifted map: 0 between places that were neighbours before the shift, -100 otherwise.

    Returns (height * width / window^2, window^2, window^2), windows row by row.
    """
    return _mask_between(_regions(height, width, window, shift)).to(device, dtype)


@lru_cache(maxsize=32)
def border_mask(
    height: int, width: int, window: int, shift: int, device: torch.device, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """The windows of ``shift_mask`` that are not all 0, and their masks: those of the last row and the last column.

    Cached: they depend on the size alone.
    """
    regions = _regions(height, width, window, shift)
    border = (regions != regions[:, :1]).any(1).nonzero()[:, 0]
    return border.to(device), _mask_between(regions[border]).to(device, dtype)


def _regions(height: int, width: int, window: int, shift: int) -> Tensor:
    """(windows, window^2): equal numbers for places that were neighbours before the shift."""
    region = torch.zeros(height, width)
    bounds = (slice(0, -window), slice(-window, -shift), slice(-shift, None))
    for number, (rows, columns) in enumerate((rows, columns) for rows in bounds for columns in bounds):
        region[rows, columns] = number
    return windows_of(region[None, :, :, None], window).flatten(1)


def _mask_between(regions: Tensor) -> Tensor:
    return torch.where(regions[:, None, :] == regions[:, :, None], 0.0, -100.0)


def windows_of(tokens: Tensor, window: int) -> Tensor:
    """(n, h, w, c) -> (n * h/window * w/window, window^2, c), windows row by row."""
    n, h, w, c = tokens.shape
    tiles = tokens.view(n, h // window, window, w // window, window, c)
    return tiles.transpose(2, 3).reshape(-1, window * window, c)


def from_windows(tiles: Tensor, window: int, height: int, width: int) -> Tensor:
    """Undo ``windows_of``."""
    tiles = tiles.view(-1, height // window, width // window, window, window, tiles.shape[-1])
    return tiles.transpose(2, 3).reshape(-1, height, width, tiles.shape[-1])


class WindowAttention(nn.Module):
    """Multi-head self-attention inside windows, with a learned bias for every relative position."""

    relative_position_index: Tensor

    def __init__(self, width: int, num_heads: int, window: int) -> None:
        super().__init__()
        self.num_heads, self.window = num_heads, window
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * window - 1) ** 2, num_heads))
        self.register_buffer("relative_position_index", relative_position_index(window), persistent=False)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)

    def forward(self, tiles: Tensor, masked: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """tiles: (n, windows, window^2, width). masked: of ``border_mask``: which windows have a mask that is added to their
        logits, and the masks."""
        n, windows, places, width = tiles.shape
        query, key, value = (
            self.qkv(tiles).view(n * windows, places, 3, self.num_heads, width // self.num_heads).permute(2, 0, 3, 1, 4)
        )
        bias = self.relative_position_bias_table[self.relative_position_index.flatten()]
        bias = bias.view(places, places, self.num_heads).permute(2, 0, 1)[None].to(query.dtype)
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        if masked is not None:
            # Few windows have a mask: they are done again, and the others never see a mask of their size.
            border, mask = masked
            rows = (border + windows * torch.arange(n, device=border.device)[:, None]).flatten()
            mask = (bias + mask[:, None].to(bias.dtype)).repeat(n, 1, 1, 1)
            again = F.scaled_dot_product_attention(query[rows], key[rows], value[rows], attn_mask=mask)
            attended = attended.index_copy(0, rows, again)
        return self.proj(attended.transpose(1, 2).reshape(n, windows, places, width))


class SwinBlock(nn.Module):
    """Attention in windows, shifted by ``shift``, and a two-layer perceptron; both residual, normalised before."""

    def __init__(self, width: int, num_heads: int, window: int = 8, shift: int = 0, mlp_ratio: float = 2.0) -> None:
        super().__init__()
        self.window, self.shift = window, shift
        self.norm1 = nn.LayerNorm(width)
        self.attn = WindowAttention(width, num_heads, window)
        self.norm2 = nn.LayerNorm(width)
        hidden = int(width * mlp_ratio)
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(width, hidden), "fc2": nn.Linear(hidden, width)})

    def forward(self, tokens: Tensor) -> Tensor:
        """(n, h, w, width) -> the same; h and w multiples of the window."""
        n, height, width, _ = tokens.shape
        shifted, masked = self.norm1(tokens), None
        if self.shift:
            shifted = shifted.roll((-self.shift, -self.shift), (1, 2))
            masked = border_mask(height, width, self.window, self.shift, shifted.device, shifted.dtype)
        tiles = windows_of(shifted, self.window).unflatten(0, (n, -1))
        attended = from_windows(self.attn(tiles, masked).flatten(0, 1), self.window, height, width)
        if self.shift:
            attended = attended.roll((self.shift, self.shift), (1, 2))
        tokens = tokens + attended
        return tokens + self.mlp["fc2"](F.gelu(self.mlp["fc1"](self.norm2(tokens))))


class ResidualGroup(nn.Module):
    """Swin blocks, every second one shifted by half a window, then a convolution; residual."""

    def __init__(self, width: int, depth: int, num_heads: int, window: int, mlp_ratio: float) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            SwinBlock(width, num_heads, window, 0 if number % 2 == 0 else window // 2, mlp_ratio)
            for number in range(depth)
        )
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, tokens: Tensor) -> Tensor:
        """(n, h, w, width) -> the same."""
        result = tokens
        for block in self.blocks:
            result = block(result)
        return tokens + self.conv(result.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class RestorationTransformer(nn.Module):
    """R: (n, channels, h, w) -> the same; its output is the new hidden state. h and w multiples of 2 * window.

    channels: of the hidden state at full resolution. width: of the transformer at half resolution; the convolutions
    around it have half of that, or ``inner``. depths: Swin blocks of each residual group. num_heads: of every block.
    residual: add the input to the output, with nothing else at the start; published: no.
    """

    def __init__(
        self,
        channels: int = 16,
        width: int = 64,
        depths: Sequence[int] = (2, 2, 2),
        num_heads: int = 4,
        window: int = 8,
        mlp_ratio: float = 2.0,
        inner: int | None = None,
        residual: bool = False,
    ) -> None:
        super().__init__()
        inner = inner or width // 2
        self.multiple, self.residual = 2 * window, residual
        self.conv_first = nn.Conv2d(channels, inner, 3, padding=1)
        self.conv_second = nn.Conv2d(inner, width, 4, stride=2, padding=1)
        self.embed_norm = nn.LayerNorm(width)
        self.groups = nn.ModuleList(ResidualGroup(width, depth, num_heads, window, mlp_ratio) for depth in depths)
        self.norm = nn.LayerNorm(width)
        self.conv_after_body = nn.Conv2d(width, width, 3, padding=1)
        self.conv_before_upsample = nn.Conv2d(width, width, 3, padding=1)
        self.conv_up = nn.Conv2d(width, inner, 3, padding=1)
        self.conv_last = nn.Conv2d(inner, channels, 3, padding=1)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)
        if residual:
            for parameter in self.conv_last.parameters():
                nn.init.zeros_(parameter)

    def forward(self, features: Tensor) -> Tensor:
        full = F.leaky_relu(self.conv_first(features), 0.2)
        half = self.conv_second(full)
        tokens = self.embed_norm(half.permute(0, 2, 3, 1))
        for group in self.groups:
            tokens = group(tokens)
        half = half + self.conv_after_body(self.norm(tokens).permute(0, 3, 1, 2))
        # The published slope here is PyTorch's default 0.01, unlike that of its neighbours.
        half = F.leaky_relu(self.conv_before_upsample(half), 0.01)
        restored = self.conv_up(F.interpolate(half, scale_factor=2, mode="nearest")) + full
        restored = self.conv_last(F.leaky_relu(restored, 0.2))
        return features + restored if self.residual else restored
