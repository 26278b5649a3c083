"""Layers that act on every point alike: 1x1 convolutions with their batch norm, and maxima over points.

Activations are channels-last here, (B, N, D) for points and (B, S, K, D) for groups of K neighbours; the published
victims hold the same axes in reverse order behind the batch: (B, D, N) and (B, D, K, S). In evaluation the norm is
folded into the convolution and the pair runs as one matrix product. So it is in training: a convolution is linear, so the
batch statistics of its output follow from mean and covariance of its input (``batch_folded``). Layers with forward hooks,
which expect the published activations, and unusual norms run as the stored modules, one after the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from si_adv.geometry import gather

# Width of the blocks in which the position of a maximum is searched; one vector of partial maxima a block.
_BLOCK = 32

_Conv = nn.Conv1d | nn.Conv2d


def check_clouds(clouds: Tensor, channels: int) -> None:
    """Raise ValueError unless ``clouds`` is (B, channels, N), as the victims take them."""
    if clouds.dim() != 3 or clouds.shape[1] != channels:
        raise ValueError(
            f"clouds must have shape (B, {channels}, N), got {tuple(clouds.shape)}; points last, channels second"
        )


def as_stored(*modules: nn.Module) -> bool:
    """Whether these layers must run as the modules they are: in training, or because one of them has a hook."""
    return any(module.training or module._forward_hooks or module._forward_pre_hooks for module in modules)


def folded(conv: nn.Module, norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Weight (out, in) and bias (out,) of a 1x1 convolution followed by its batch norm in evaluation."""
    assert isinstance(conv, _Conv) and isinstance(norm, nn.modules.batchnorm._BatchNorm)
    assert norm.running_mean is not None and norm.running_var is not None
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    shift = norm.bias - norm.running_mean * scale
    if conv.bias is not None:
        shift = shift + conv.bias * scale
    return conv.weight.flatten(1) * scale[:, None], shift


class _Moments(torch.autograd.Function):
    """``moments`` of rows (R, C), whose gradient is one matrix product."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> tuple[Tensor, Tensor]:
        mean = rows.mean(0)
        centred = rows - mean  # before the product: of squares far from 0 little would be left
        ctx.save_for_backward(rows, mean)
        return mean, centred.T @ centred / len(rows)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        rows, mean = ctx.saved_tensors
        of_mean, of_covariance = gradients
        symmetric = (of_covariance + of_covariance.T) / len(rows)
        return torch.addmm(of_mean / len(rows) - mean @ symmetric, rows, symmetric)


def moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (C,) and covariance (C, C) over all rows of (..., C)."""
    return _Moments.apply(x.flatten(0, -2))


def normalised(
    weight: Tensor, bias: Tensor | None, norm: nn.Module, mean: Tensor, covariance: Tensor, count: int
) -> tuple[Tensor, Tensor]:
    """Weight (out, in) and bias (out,) of a linear layer followed by its batch norm in training.

    mean (in,) and covariance (in, in) are those of the layer's ``count`` inputs: its outputs have the mean w.m + b and the
    variance w.Cw. The norm's running statistics are updated.
    """
    assert isinstance(norm, nn.modules.batchnorm._BatchNorm)
    # The bias drops out, with a gradient of zero: distributed training wants one for every parameter.
    bias = weight.new_zeros(len(weight)) if bias is None else bias
    centre, variance = weight @ mean + bias, ((weight @ covariance) * weight).sum(1)
    update_running(norm, centre, variance, count)
    scale = norm.weight * torch.rsqrt(variance + norm.eps)
    return weight * scale[:, None], (bias - centre) * scale + norm.bias


def batch_folded(x: Tensor, conv: nn.Module, norm: nn.Module) -> tuple[Tensor, Tensor]:
    """``folded`` in training: with the statistics of the batch x (..., in)."""
    assert isinstance(conv, _Conv)
    return normalised(conv.weight.flatten(1), conv.bias, norm, *moments(x), x.numel() // x.shape[-1])


def _published_order(x: Tensor) -> Tensor:
    return x.permute(0, *range(x.dim() - 1, 0, -1))


def pointwise(x: Tensor, conv: nn.Module, norm: nn.Module) -> Tensor:
    """norm(conv(x)) for channels-last x: (B, ..., in) -> (B, ..., out)."""
    if trains_from_moments(x, norm, conv):
        return F.linear(x, *batch_folded(x, conv, norm))
    if as_stored(conv, norm):
        # torch's batch norm on the CPU returns a wrong gradient for (B, C, K, 1) when the gradient it is given and its
        # input differ in memory order; both are brought to the same one.
        x = norm(conv(_published_order(x)).contiguous())
        if x.requires_grad:
            x.register_hook(Tensor.contiguous)
        return _published_order(x)
    return F.linear(x, *folded(conv, norm))


def pointwise_relu(x: Tensor, conv: nn.Module, norm: nn.Module) -> Tensor:
    """relu(norm(conv(x))) for channels-last x: (B, ..., in) -> (B, ..., out)."""
    hooked = as_stored(conv, norm) and not trains_from_moments(x, norm, conv)  # a hook may keep what the norm returned
    return F.relu(pointwise(x, conv, norm), inplace=not hooked)


def pointwise_layers(widths: Sequence[int]) -> tuple[nn.ModuleList, nn.ModuleList]:
    """Convolutions from each width to the next and their norms, as the published set abstractions hold them."""
    convs = [nn.Conv2d(inputs, outputs, 1) for inputs, outputs in pairwise(widths)]
    return nn.ModuleList(convs), nn.ModuleList([nn.BatchNorm2d(width) for width in widths[1:]])


def pointwise_mlp(x: Tensor, convs: nn.ModuleList, norms: nn.ModuleList) -> Tensor:
    """ReLU layers one after the other, channels-last: (B, ..., in) -> (B, ..., out)."""
    for conv, norm in zip(convs, norms, strict=True):
        x = pointwise_relu(x, conv, norm)
    return x


def max_over_points(x: Tensor) -> Tensor:
    """Largest value of every channel over all points, channels first: (B, C, N) -> (B, C).

    The gradient goes to one point a channel, as that of ``torch.max``.
    """
    if not torch.is_grad_enabled():
        return x.amax(2)
    return x.gather(2, _argmax(x.detach())[..., None])[..., 0]


def max_over_neighbours(x: Tensor) -> Tensor:
    """Largest value of every channel over the neighbours, channels last: (B, S, K, C) -> (B, S, C).

    The gradient goes to one neighbour a channel. ``amax`` would share it among equal ones, for which its backward goes
    over all K neighbours several times.
    """
    if not torch.is_grad_enabled():
        return x.amax(2)
    values = x.detach()
    if x.device.type == "cpu":  # one neighbour after the other, each step a vector operation
        best, winner = values[:, :, 0], torch.zeros_like(values[:, :, 0], dtype=torch.int64)
        for rank in range(1, x.shape[2]):
            winner.masked_fill_(values[:, :, rank] > best, rank)
            best = torch.maximum(best, values[:, :, rank])
    else:
        winner = values.argmax(2)
    return x.gather(2, winner[:, :, None])[:, :, 0]


def pointwise_max(x: Tensor, conv: nn.Module, norm: nn.Module) -> Tensor:
    """Largest value of norm(conv(x)) over all points: (B, N, in) -> (B, out).

    Only one point a channel decides the maximum. With a gradient to take, that point is found first and its value
    computed again from its own row, so the backward touches ``out`` rows instead of an (N, out) matrix.
    """
    if trains_from_moments(x, norm, conv):
        return _training_max(x, conv, norm)
    if as_stored(conv, norm):
        return max_over_points(norm(conv(_published_order(x))))
    weight, bias = folded(conv, norm)
    with torch.no_grad():
        values = torch.bmm(weight.expand(len(x), -1, -1), x.transpose(1, 2))
    if not torch.is_grad_enabled():
        return values.amax(2) + bias
    return (gather(x, _argmax(values)) * weight).sum(-1) + bias


def trains_from_moments(x: Tensor, norm: nn.Module, *others: nn.Module) -> bool:
    """Whether moments may stand in for the stored layers: an ordinary batch norm in training, in full precision.

    Not where the norm gathers its statistics from other processes, averages them in another way, or where it or one of
    the ``others`` has a hook.
    """
    hooked = any(module._forward_hooks or module._forward_pre_hooks for module in (norm, *others))
    if not isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d) or type(norm) not in (nn.BatchNorm1d, nn.BatchNorm2d):
        return False
    plain = norm.affine and norm.momentum is not None and norm.track_running_stats
    return plain and norm.training and not hooked and not torch.is_autocast_enabled(x.device.type)


@torch.no_grad()
def update_running(norm: nn.Module, mean: Tensor, variance: Tensor, count: int) -> None:
    """What a batch norm in training does to its running statistics, given those of a batch of ``count`` values."""
    assert isinstance(norm, nn.modules.batchnorm._BatchNorm) and norm.momentum is not None
    assert norm.running_mean is not None and norm.running_var is not None and norm.num_batches_tracked is not None
    norm.num_batches_tracked += 1
    norm.running_mean.lerp_(mean, norm.momentum)
    norm.running_var.lerp_(variance * (count / max(count - 1, 1)), norm.momentum)


def _training_max(x: Tensor, conv: nn.Module, norm: nn.Module) -> Tensor:
    """``pointwise_max`` with batch statistics, without the (B, N, out) activations and their gradient.

    The norm is increasing or decreasing in each channel, so the deciding point is known before it.
    """
    assert isinstance(conv, _Conv) and isinstance(norm, nn.modules.batchnorm._BatchNorm)
    with torch.no_grad():
        signed = conv.weight.flatten(1) * torch.where(norm.weight < 0, -1.0, 1.0)[:, None]
        deciding = _argmax(torch.bmm(signed.expand(len(x), -1, -1), x.transpose(1, 2)))
    weight, bias = batch_folded(x, conv, norm)
    return (gather(x, deciding) * weight).sum(-1) + bias


def _argmax(x: Tensor) -> Tensor:
    """Position of the largest value along the last axis; in two stages, which the CPU can do with vectors."""
    if x.shape[-1] % _BLOCK:
        return x.argmax(-1)
    blocks = x.unflatten(-1, (-1, _BLOCK))
    column = blocks.amax(-2).argmax(-1, keepdim=True)
    row = blocks.gather(-1, column[..., None, :].expand(*blocks.shape[:-1], 1))[..., 0].argmax(-1)
    return row * _BLOCK + column[..., 0]
