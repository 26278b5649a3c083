"""CvT (Wu et al. 2021): convolutions make the tokens and the queries, keys and values; published entry names.

As published, the attention scores are scaled by the whole width, dim^-0.5, not the head's; keys and values come from a
convolution of stride 2; the last stage has a class token, which bypasses the convolutions but not the feed-forward
layers; stochastic depth grows from 0 in each stage anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from rmoe.models.drop_path import DropPath
from rmoe.models.maps import Backbone
from rmoe.models.swin import init_weights
from rmoe.moe.feed_forward import FeedForward


class QuickGELU(nn.Module):
    """x sigmoid(1.702 x)."""

    def forward(self, x: Tensor) -> Tensor:
        """Element-wise."""
        return x * torch.sigmoid(1.702 * x)


class ConvProjection(nn.Module):
    """Depthwise 3x3 convolution and BatchNorm."""

    def __init__(self, dim: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(dim, dim, 3, stride=stride, padding=1, groups=dim, bias=False)
        self.bn = nn.BatchNorm2d(dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, ceil(H/stride) ceil(W/stride), C)."""
        return self.bn(self.conv(x)).flatten(2).transpose(1, 2)


class ConvAttention(nn.Module):
    """Attention of the whole map, with queries, keys and values from convolutions."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.scale = dim**-0.5
        self.conv_proj_q, self.conv_proj_k, self.conv_proj_v = (ConvProjection(dim, stride) for stride in (1, 2, 2))
        self.proj_q, self.proj_k, self.proj_v = (nn.Linear(dim, dim) for _ in range(3))
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        """(B, N, C) -> (B, N, C); N = H W, or H W + 1 with the class token first."""
        batch, positions, dim = x.shape
        token, rest = x.split([positions - size[0] * size[1], size[0] * size[1]], dim=1)
        image = rest.transpose(1, 2).reshape(batch, dim, *size)

        def heads(conv: nn.Module, linear: nn.Module) -> Tensor:
            y = linear(torch.cat([token, conv(image)], dim=1))
            return y.view(batch, -1, self.num_heads, dim // self.num_heads).transpose(1, 2)

        y = functional.scaled_dot_product_attention(
            heads(self.conv_proj_q, self.proj_q),
            heads(self.conv_proj_k, self.proj_k),
            heads(self.conv_proj_v, self.proj_v),
            scale=self.scale,
        )
        return self.proj(y.transpose(1, 2).reshape(batch, positions, dim))


class CvTBlock(nn.Module):
    """x + attention(norm1 x), then x + feed-forward(norm2 x)."""

    def __init__(self, dim: int, num_heads: int, mlp_ratio: float, drop_path: float) -> None:
        super().__init__()
        # The published code has torch's default eps of 1e-5 here, like everywhere.
        self.norm1 = nn.LayerNorm(dim)
        self.attn = ConvAttention(dim, num_heads)
        self.drop_path = DropPath(drop_path)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = FeedForward(dim, int(dim * mlp_ratio), QuickGELU())

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        """(B, N, C) -> (B, N, C)."""
        x = x + self.drop_path(self.attn(self.norm1(x), size))
        return x + self.drop_path(self.mlp(self.norm2(x)))


class ConvEmbed(nn.Module):
    """A strided convolution and a LayerNorm."""

    def __init__(self, in_channels: int, dim: int, kernel: int, stride: int, padding: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_channels, dim, kernel, stride=stride, padding=padding)
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """(B, C', H', W') -> (B, H W, C) and (H, W)."""
        x = self.proj(x)
        return self.norm(x.flatten(2).transpose(1, 2)), (x.shape[2], x.shape[3])


class CvTStage(nn.Module):
    """An embedding, blocks, and in the last stage a class token."""

    def __init__(
        self,
        in_channels: int,
        dim: int,
        num_heads: int,
        depth: int,
        embed: tuple[int, int, int],
        mlp_ratio: float,
        drop_path_rate: float,
        class_token: bool,
    ) -> None:
        super().__init__()
        self.patch_embed = ConvEmbed(in_channels, dim, *embed)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim)) if class_token else None
        rates = torch.linspace(0, drop_path_rate, depth).tolist()
        self.blocks = nn.ModuleList(CvTBlock(dim, num_heads, mlp_ratio, rate) for rate in rates)
        self.apply(init_weights)
        if self.cls_token is not None:
            nn.init.trunc_normal_(self.cls_token, std=0.02)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C', H', W') -> map (B, C, H, W), class token (B, 1, C) (of length 0 where the stage has none)."""
        x, size = self.patch_embed(x)
        count = 0
        if self.cls_token is not None:
            count = 1
            x = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x], dim=1)
        for block in self.blocks:
            x = block(x, size)
        token, x = x.split([count, size[0] * size[1]], dim=1)
        return x.transpose(1, 2).reshape(x.shape[0], -1, *size), token


_CVT_13: dict[str, Any] = {"dims": (64, 192, 384), "num_heads": (1, 3, 6), "depths": (1, 2, 10)}
_EMBED = ((7, 4, 2), (3, 2, 1), (3, 2, 1))


class CvT(nn.Module):
    """The three stages.

    Args:
        dims: C a stage.
        num_heads: heads a stage.
        depths: blocks a stage.
        mlp_ratio: H / C.
        drop_path_rate: of the last block of the last stage (published); the other stages have none.
    """

    def __init__(
        self,
        dims: Sequence[int] = (64, 192, 384),
        num_heads: Sequence[int] = (1, 3, 6),
        depths: Sequence[int] = (1, 2, 10),
        mlp_ratio: float = 4.0,
        drop_path_rate: float = 0.1,
    ) -> None:
        super().__init__()
        before, last = 3, len(dims) - 1
        for stage, (dim, heads, depth) in enumerate(zip(dims, num_heads, depths, strict=True)):
            rate = drop_path_rate if stage == last else 0.0
            made = CvTStage(before, dim, heads, depth, _EMBED[stage], mlp_ratio, rate, stage == last)
            self.add_module(f"stage{stage}", made)
            before = dim
        self.num_stages, self.dims = len(dims), tuple(dims)

    def forward_maps(self, images: Tensor) -> tuple[list[Tensor], Tensor]:
        """(B, 3, H, W) -> maps of strides 4, 8, 16 (B, C_i, H_i, W_i), and the class token (B, 1, C)."""
        x, maps = images, []
        for stage in range(self.num_stages):
            x, token = self.get_submodule(f"stage{stage}")(x)
            maps.append(x)
        return maps, token


class CvTClassifier(CvT):
    """CvT with its norm and head on the class token (published: microsoft/CvT)."""

    def __init__(self, num_classes: int = 1000, **options: Any) -> None:
        super().__init__(**options)
        self.num_classes = num_classes
        self.norm = nn.LayerNorm(self.dims[-1])
        self.head = nn.Linear(self.dims[-1], num_classes) if num_classes else nn.Identity()
        self.head.apply(init_weights)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W), normalised; any size -> (B, classes) logits, for one image too."""
        _, token = self.forward_maps(images)
        return self.head(self.norm(token)[:, 0])


class CvTBackbone(CvT, Backbone):
    """CvT for dense prediction: maps of strides 4, 8, 16, each with a LayerNorm of its own [ours, as Swin's].

    The class token stays: the published weights were trained with it among the keys.

    Args:
        extra_level: ``pool`` adds a map of stride 32 by 2x2 max pooling [ours], for heads that want four.
        options: of ``CvT``.
    """

    def __init__(self, extra_level: Literal["none", "pool"] = "none", **options: Any) -> None:
        super().__init__(**options)
        if extra_level not in ("none", "pool"):
            raise ValueError(f"extra_level {extra_level!r} is unknown: choose of none, pool")
        self.extra_level = extra_level
        for stage, dim in enumerate(self.dims):
            self.add_module(f"norm{stage}", nn.LayerNorm(dim))
        pooled = extra_level == "pool"
        self.channels = [*self.dims, *([self.dims[-1]] if pooled else [])]
        self.strides = [4 * 2**stage for stage in range(len(self.channels))]

    def forward(self, images: Tensor) -> list[Tensor]:
        """(B, 3, H, W), normalised; any size -> maps (B, C_i, H_i, W_i)."""
        maps, _ = self.forward_maps(images)
        normed = [
            self.get_submodule(f"norm{stage}")(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2).contiguous()
            for stage, x in enumerate(maps)
        ]
        if self.extra_level == "pool":
            normed.append(functional.max_pool2d(normed[-1], 2, ceil_mode=True))
        return normed


VARIANTS: dict[str, dict[str, Any]] = {"cvt_13": _CVT_13}
