"""Transformer encoders over the frames of a clip: ours, and the one of the published relative for its weights."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

Positions = Literal["learned", "sinusoidal"]
Pooling = Literal["mean", "cls"]


class Encoded(NamedTuple):
    """What an encoder makes of a clip: ``frames`` (B, T, D) and ``clip`` (B, D)."""

    frames: Tensor
    clip: Tensor


class _Attention(nn.Module):
    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.rate = heads, dropout
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        query, key, value = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        rate = self.rate if self.training else 0.0
        mixed = scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=rate)
        return self.out(mixed.transpose(1, 2).flatten(2))


class _Layer(nn.Module):
    """Pre-norm: x + attention(norm x), then x + mlp(norm x)."""

    def __init__(self, dim: int, heads: int, mlp: int, dropout: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attention = _Attention(dim, heads, dropout)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, mlp), nn.GELU(), nn.Dropout(dropout), nn.Linear(mlp, dim))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        x = x + self.dropout(self.attention(self.norm1(x), mask))
        return x + self.dropout(self.mlp(self.norm2(x)))


class TemporalEncoder(nn.Module):
    """A pre-norm transformer over frame features; depth, width and positions of the paper are not known.

    Args:
        inputs: length of a frame's feature vector.
        dim: length of the tokens.
        depth: layers.
        heads: of the attention; they divide dim.
        mlp: hidden units of a layer's feed-forward part.
        dropout: of attention, feed-forward part and residuals.
        positions: ``learned`` (for up to ``frames``), ``sinusoidal`` (for any length), or None: the order is then
            invisible to the attention.
        pooling: the clip's vector is the mean of the valid frames, or a token of its own.
        frames: longest clip that learned positions are for.
    """

    def __init__(
        self,
        inputs: int,
        dim: int = 512,
        depth: int = 6,
        heads: int = 8,
        mlp: int = 2048,
        dropout: float = 0.1,
        positions: Positions | None = "learned",
        pooling: Pooling = "mean",
        frames: int = 25,
    ) -> None:
        super().__init__()
        if dim % heads or dim % 2:
            raise ValueError(f"dim {dim} has to be even and a multiple of heads {heads}")
        if positions not in ("learned", "sinusoidal", None):
            raise ValueError(f"positions {positions!r}: learned, sinusoidal or null")
        if pooling not in ("mean", "cls"):
            raise ValueError(f"pooling {pooling!r}: mean or cls")
        self.project = nn.Linear(inputs, dim)
        self.positions = nn.Parameter(0.02 * torch.randn(frames, dim)) if positions == "learned" else None
        self.waves = positions == "sinusoidal"
        self.token = nn.Parameter(0.02 * torch.randn(dim)) if pooling == "cls" else None
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(_Layer(dim, heads, mlp, dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(dim)
        self.dim = dim

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Encoded:
        """Encode clips.

        Args:
            x: (B, T, inputs).
            valid: (B, T) bool; frames that are not valid are not attended to and not pooled. None: all are.

        Raises:
            ValueError: more frames than there are learned positions.
        """
        tokens = self.project(x)
        if self.positions is not None:
            if x.shape[1] > len(self.positions):
                raise ValueError(
                    f"{x.shape[1]} frames, and learned positions for {len(self.positions)}: cut into clips"
                )
            tokens = tokens + self.positions[: x.shape[1]]
        elif self.waves:
            tokens = tokens + sinusoids(x.shape[1], self.dim).to(tokens)
        if self.token is not None:
            tokens = torch.cat([self.token.expand(len(x), 1, -1), tokens], 1)
        tokens = self.dropout(tokens)
        mask = None if valid is None else self._mask(valid)
        for layer in self.layers:
            tokens = layer(tokens, mask)
        tokens = self.norm(tokens)
        if self.token is not None:
            return Encoded(tokens[:, 1:], tokens[:, 0])
        if valid is None:
            return Encoded(tokens, tokens.mean(1))
        weight = valid[:, :, None].to(tokens)
        return Encoded(tokens, (tokens * weight).sum(1) / weight.sum(1).clamp(min=1))

    def _mask(self, valid: Tensor) -> Tensor:
        # A clip without a valid frame attends to all: a softmax over nothing is not a number.
        keys = valid | ~valid.any(1, keepdim=True)
        if self.token is not None:
            keys = torch.cat([torch.ones_like(keys[:, :1]), keys], 1)
        return keys[:, None, None]


def sinusoids(length: int, dim: int) -> Tensor:
    """Sines and cosines of geometric periods from 2 pi to 20000 pi: (length, dim)."""
    angles = torch.arange(length)[:, None] * torch.exp(torch.arange(0, dim, 2) * (-math.log(1e4) / dim))
    return torch.stack([angles.sin(), angles.cos()], 2).flatten(1)


class _TokenNorm(nn.BatchNorm1d):
    """Batch norm of the channels of tokens (B, T, C)."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.transpose(1, 2)).transpose(1, 2)


def _token_norm(dim: int, kind: str) -> nn.Module:
    # The published names count a reshaping before the norm.
    return nn.LayerNorm(dim) if kind == "ln" else nn.Sequential(nn.Identity(), _TokenNorm(dim))


class _PublishedAttention(nn.Module):
    def __init__(self, dim: int, heads: int, dim_head: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.to_qkv = nn.Linear(dim, 3 * heads * dim_head, bias=False)
        self.to_out = nn.Sequential(nn.Linear(heads * dim_head, dim), nn.Dropout(dropout))

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.to_qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.to_out(scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2))


class _PublishedMLP(nn.Module):
    def __init__(self, dim: int, mlp_dim: int, dropout: float) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(dim, mlp_dim), nn.GELU(), nn.Dropout(dropout), nn.Linear(mlp_dim, dim), nn.Dropout(dropout)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class _Residual(nn.Module):
    def __init__(self, norm: nn.Module, fn: nn.Module) -> None:
        super().__init__()
        self.norm, self.fn = norm, fn

    def forward(self, x: Tensor) -> Tensor:
        return x + self.fn(self.norm(x))


class _PublishedLayers(nn.Module):
    def __init__(self, layers: list[nn.ModuleList]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            for part in layer:  # type: ignore[attr-defined]
                x = part(x)
        return x


class PublishedEncoder(nn.Module):
    """The encoder of RealForensics: no positions, no bias in attention, batch norm before the feed-forward part.

    Args:
        in_dim: length of a frame's feature vector.
        dim: length of the tokens.
        out_dim: of what comes out; without ``use_mlp_head`` it is dim.
        heads, dim_head: of the attention.
        mlp_dim: hidden units.
        depth: layers.
        dropout: of both parts.
        norm: before the feed-forward part: ``bn`` or ``ln``.
        use_mlp_head: batch norm and a linear map at the end.
        final_bn: batch norm after that.
    """

    def __init__(
        self,
        in_dim: int,
        dim: int,
        out_dim: int,
        heads: int,
        mlp_dim: int,
        depth: int,
        dropout: float = 0.0,
        norm: Literal["bn", "ln"] = "bn",
        use_mlp_head: bool = True,
        final_bn: bool = True,
        dim_head: int = 64,
    ) -> None:
        super().__init__()
        self.projection_layer = nn.Linear(in_dim, dim)
        self.transformer = _PublishedLayers(
            [
                nn.ModuleList(
                    [
                        _Residual(nn.LayerNorm(dim), _PublishedAttention(dim, heads, dim_head, dropout)),
                        _Residual(_token_norm(dim, norm), _PublishedMLP(dim, mlp_dim, dropout)),
                    ]
                )
                for _ in range(depth)
            ]
        )
        self.mlp_head = (
            nn.Sequential(nn.Identity(), _TokenNorm(dim), nn.Identity(), nn.Linear(dim, out_dim))
            if use_mlp_head
            else nn.Identity()
        )
        width = out_dim if use_mlp_head else dim
        self.final_bn = nn.Sequential(nn.Identity(), _TokenNorm(width)) if final_bn else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, in_dim) -> (B, T, out_dim)."""
        return self.final_bn(self.mlp_head(self.transformer(self.projection_layer(x))))
