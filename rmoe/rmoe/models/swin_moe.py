"""Swin-MoE: the public mixture of experts that was pre-trained as one ("upper bound" of the comparison).

Published code: microsoft/Swin-Transformer with tutel. The attention has the continuous position bias of Swin v2 with
the dot product of v1; the mixtures are ``ResidualMoE`` layers of whole weights with tutel's gate and overflow.
"""

# Models import from `moe`, the layer below: the blocks here are mixtures from the start.

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from rmoe.models.swin import SwinBlock, SwinClassifier, WindowAttention
from rmoe.moe.feed_forward import FeedForward
from rmoe.moe.layer import ResidualMoE


class ContinuousBiasAttention(WindowAttention):
    """Window attention whose bias is a small network's answer to the logarithm of the relative position."""

    def make_bias(self, window: int) -> None:
        """The network, and the coordinates of the (2 window - 1)^2 relative positions on a log scale."""
        self.cpb_mlp = nn.Sequential(nn.Linear(2, 512), nn.ReLU(), nn.Linear(512, self.num_heads, bias=False))
        steps = torch.arange(1 - window, window, dtype=torch.float32) * (8 / max(1, window - 1))
        steps = steps.sign() * torch.log2(steps.abs() + 1) / 3
        self.register_buffer("coordinates", torch.cartesian_prod(steps, steps), persistent=False)

    def table(self) -> Tensor:
        """((2 window - 1)^2, heads)."""
        return self.cpb_mlp(self.coordinates)


class SwinMoE(SwinClassifier):
    """Swin-MoE for classification.

    Args:
        num_classes: width of the head.
        image_size: side of the images.
        embed_dim: C of the first stage.
        depths: blocks a stage.
        num_heads: heads a stage.
        window: side of the window.
        moe_blocks: numbers of the blocks with experts, by stage.
        experts: E of each.
        k: experts a token.
        capacity_factor: in training and evaluation.
        router: ``linear`` or ``cosine``.
        router_noise: in training.
        normalize_gate: divide the gates by their sum.
        priority: batch-prioritised routing.
        mlp_fc2_bias: whether the dense layers' fc2 has a bias; the experts' always has, frozen where this is False.
        moe_drop: dropout inside the experts.
        drop_path_rate: of the last block.
        init_std: of the experts' weights.
    """

    def __init__(
        self,
        num_classes: int = 1000,
        image_size: int = 192,
        embed_dim: int = 96,
        depths: Sequence[int] = (2, 2, 18, 2),
        num_heads: Sequence[int] = (3, 6, 12, 24),
        window: int = 12,
        moe_blocks: Sequence[Sequence[int]] = ((), (), (1, 3, 5, 7, 9, 11, 13, 15, 17), (1,)),
        experts: int = 32,
        k: int = 1,
        capacity_factor: float = 1.25,
        router: Literal["linear", "cosine"] = "linear",
        router_noise: float = 1.0,
        normalize_gate: bool = False,
        priority: bool = True,
        mlp_fc2_bias: bool = False,
        moe_drop: float = 0.1,
        drop_path_rate: float = 0.2,
        init_std: float = 0.005,
    ) -> None:
        def block(stage: int, number: int, dim: int, heads: int, window: int, shift: int, rate: float) -> SwinBlock:
            if number in moe_blocks[stage]:
                mlp: nn.Module = ResidualMoE(
                    dim,
                    4 * dim,
                    experts,
                    k,
                    gate="normalized" if normalize_gate else "prob",
                    overflow="zero",
                    capacity_factor=capacity_factor,
                    eval_capacity_factor=capacity_factor,
                    priority=priority,
                    param="merged",
                    dropout=(moe_drop, 0.0),
                    router=router,
                    router_noise=router_noise,
                )
                for weight in (mlp.experts.fc1_weight, mlp.experts.fc2_weight):
                    nn.init.trunc_normal_(weight, std=init_std)
                if mlp.experts.fc2_bias is not None:
                    mlp.experts.fc2_bias.requires_grad_(mlp_fc2_bias)
            else:
                mlp = FeedForward(dim, 4 * dim, bias=(True, mlp_fc2_bias))
            return SwinBlock(dim, heads, window, shift, 4.0, rate, ContinuousBiasAttention, mlp)

        super().__init__(
            num_classes, image_size, embed_dim, depths, num_heads, window, 4.0, drop_path_rate, block=block
        )
