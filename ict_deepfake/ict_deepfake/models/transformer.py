"""The vision transformer with two read-out tokens that ICT and its binary control share, under the published names."""

from __future__ import annotations

import itertools
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from shared_utils import UserError

Stem = Literal["linear", "conv"]
_EPS = 1e-6
_PUBLISHED_DIM, _DEVIATION = 384, 0.02


class LinearStem(nn.Module):
    """One linear map a patch, as published: pictures (n, 3, h, w) -> (n, patches, dim), row by row."""

    def __init__(self, patch_size: int, dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, dim, patch_size, patch_size)

    def forward(self, pictures: Tensor) -> Tensor:
        return self.proj(pictures).flatten(2).transpose(1, 2)


class ConvStem(nn.Module):
    """Overlapping 3x3 convolutions of stride 2 down to one vector a patch; learns faster on small pictures.

    Normalised per picture, so that no picture's patches depend on its batch.
    """

    def __init__(self, patch_size: int, dim: int) -> None:
        super().__init__()
        steps = patch_size.bit_length() - 1
        widths = [3, *(max(8, dim >> (steps - 1 - step)) for step in range(steps))]
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(widths):
            layers += [nn.Conv2d(before, after, 3, 2, 1, bias=False), nn.GroupNorm(1, after), nn.GELU()]
        self.convolutions = nn.Sequential(*layers)
        self.proj = nn.Conv2d(widths[-1], dim, 1)

    def forward(self, pictures: Tensor) -> Tensor:
        return self.proj(self.convolutions(pictures)).flatten(2).transpose(1, 2)


class Attention(nn.Module):
    """Multi-head self-attention, scaled by head_dim ** -0.5."""

    def __init__(self, dim: int, num_heads: int, qkv_bias: bool) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)

    def _split(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        count, tokens, dim = x.shape
        qkv = self.qkv(x).reshape(count, tokens, 3, self.num_heads, dim // self.num_heads)
        queries, keys, values = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        return queries, keys, values

    def forward(self, x: Tensor) -> Tensor:
        attended = scaled_dot_product_attention(*self._split(x))
        return self.proj(attended.transpose(1, 2).reshape(x.shape))

    def weights(self, x: Tensor) -> Tensor:
        """How much every token attends to every other, (n, heads, tokens, tokens), rows sum to one."""
        queries, keys, _ = self._split(x)
        return (queries @ keys.transpose(-2, -1) * queries.shape[-1] ** -0.5).softmax(-1)


class Mlp(nn.Module):
    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(nn.functional.gelu(self.fc1(x)))


class Block(nn.Module):
    """Attention and MLP, each behind a layer norm and beside a shortcut."""

    def __init__(self, dim: int, num_heads: int, mlp_ratio: float, qkv_bias: bool, drop_path: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=_EPS)
        self.attn = Attention(dim, num_heads, qkv_bias)
        self.norm2 = nn.LayerNorm(dim, eps=_EPS)
        self.mlp = Mlp(dim, int(dim * mlp_ratio))
        self.drop_path = drop_path

    def _kept(self, branch: Tensor) -> Tensor:
        """Stochastic depth: a picture's branch is left out with probability ``drop_path``, the others are scaled up."""
        if not self.training or self.drop_path == 0:
            return branch
        kept = torch.rand(branch.shape[0], 1, 1, device=branch.device) >= self.drop_path
        return branch * kept / (1 - self.drop_path)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self._kept(self.attn(self.norm1(x)))
        return x + self._kept(self.mlp(self.norm2(x)))


class TwoTokenTransformer(nn.Module):
    """A vision transformer that reads an inner-face token and an outer-face token out of one picture.

    Args:
        img_size: side of the square pictures, in pixels.
        patch_size: side of a patch; divides ``img_size``.
        embed_dim: length of a token; ``num_heads`` divides it.
        depth: number of blocks.
        num_heads: of each block's attention.
        mlp_ratio: hidden width of the MLPs in units of ``embed_dim``.
        qkv_bias: whether queries, keys and values have a bias.
        stem: ``linear`` (published) or ``conv`` (for small pictures; the patch size is then a power of two).
        drop_path: of the last block; earlier ones less, linearly.

    Raises:
        UserError: sizes that do not fit each other.
    """

    keeps_scale: ClassVar[bool] = False
    """Whether the linear maps of a network narrower than the published one begin as ones that keep the scale of what
    they get, in place of the published deviation."""

    def __init__(
        self,
        img_size: int = 112,
        patch_size: int = 8,
        embed_dim: int = 384,
        depth: int = 12,
        num_heads: int = 12,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        stem: Stem = "linear",
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        _check(img_size, patch_size, embed_dim, num_heads, stem)
        self.config: dict[str, Any] = {
            **{"img_size": img_size, "patch_size": patch_size, "embed_dim": embed_dim, "depth": depth},
            **{"num_heads": num_heads, "mlp_ratio": mlp_ratio, "qkv_bias": qkv_bias},
            **{"stem": stem, "drop_path": drop_path},
        }
        self.grid = img_size // patch_size
        self.cls_token = nn.Parameter(torch.zeros(1, 1, embed_dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, self.grid**2 + 2, embed_dim))
        self.outer_token = nn.Parameter(torch.zeros(1, 1, embed_dim))
        self.patch_embed = (LinearStem if stem == "linear" else ConvStem)(patch_size, embed_dim)
        rates = [drop_path * block / max(depth - 1, 1) for block in range(depth)]
        self.blocks = nn.ModuleList(Block(embed_dim, num_heads, mlp_ratio, qkv_bias, rate) for rate in rates)
        self.norm = nn.LayerNorm(embed_dim, eps=_EPS)
        for parameter in (self.cls_token, self.pos_embed, self.outer_token):
            nn.init.trunc_normal_(parameter, std=_DEVIATION)
        narrow = self.keeps_scale and embed_dim < _PUBLISHED_DIM
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=module.in_features**-0.5 if narrow else _DEVIATION)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def _embedded(self, pictures: Tensor) -> Tensor:
        size = self.config["img_size"]
        if pictures.ndim != 4 or pictures.shape[1:] != (3, size, size):
            raise UserError(
                f"pictures of shape {tuple(pictures.shape)} do not fit this network: give (n, 3, {size}, {size})"
            )
        count = pictures.shape[0]
        special = [token.expand(count, -1, -1) for token in (self.cls_token, self.outer_token)]
        return torch.cat([*special, self.patch_embed(pictures)], 1) + self.pos_embed

    def tokens(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """(inner, outer) tokens after the last layer norm, (n, dim) each, before anything that the two share.

        Args:
            pictures: (n, 3, img_size, img_size), RGB, (v / 255 - 0.5) / 0.5.
        """
        x = self._embedded(pictures)
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)
        return x[:, 0], x[:, 1]

    def attention(self, pictures: Tensor) -> Tensor:
        """Where the two tokens look: the attention of all blocks rolled out, mean over heads.

        Args:
            pictures: as in ``tokens``.

        Returns:
            (n, 2, h, w), inner then outer, over the grid of patches; each map sums to one.
        """
        x = self._embedded(pictures)
        identity = torch.eye(x.shape[1], device=x.device)
        rollout = identity
        for block in self.blocks:
            assert isinstance(block, Block)
            # The shortcut counts for half (Abnar and Zuidema, 2020).
            rollout = (0.5 * block.attn.weights(block.norm1(x)).mean(1) + 0.5 * identity) @ rollout
            x = block(x)
        maps = rollout[:, :2, 2:]
        return (maps / maps.sum(-1, keepdim=True)).reshape(-1, 2, self.grid, self.grid)


def _check(img_size: int, patch_size: int, embed_dim: int, num_heads: int, stem: str) -> None:
    if img_size < 1 or patch_size < 1 or img_size % patch_size:
        raise UserError(f"pictures of {img_size} px cannot be cut into patches of {patch_size} px: choose a divisor")
    if embed_dim < 1 or num_heads < 1 or embed_dim % num_heads:
        raise UserError(f"tokens of length {embed_dim} cannot be shared by {num_heads} heads: choose a divisor")
    if stem not in ("linear", "conv"):
        raise UserError(f"a stem {stem!r} is not known: use linear or conv")
    if stem == "conv" and (patch_size < 2 or patch_size & (patch_size - 1)):
        raise UserError(f"the conv stem halves: a patch of {patch_size} px is not a power of two; use stem: linear")
