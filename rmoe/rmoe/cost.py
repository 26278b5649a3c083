"""What a training costs in operations."""

from __future__ import annotations

from torch import Tensor, nn

from rmoe.moe import diagnostics


def forward_flops(model: nn.Module, images: Tensor) -> int:
    """Operations (two a multiply-add) of one pass of a batch of one image, in evaluation."""
    training = model.training
    counted = diagnostics.flops(model.eval(), images)
    model.train(training)
    return counted


def training_flops(forward: int, batch_size: int, steps: int) -> float:
    """Of all steps, from the operations of a pass of one image: three times that (the backward pass costs two)."""
    return 3.0 * forward * batch_size * steps
