"""Layers that act on every point alike: 1x1 convolutions with their batch norm, and maxima over points.

Activations are channels-last here, (B, N, D) for points and (B, S, K, D) for groups of K neighbours; the published
victims hold the same axes in reverse order behind the batch: (B, D, N) and (B, D, K, S). In evaluation the norm is
folded into the convolution and the pair runs as one matrix product. In training, where batch statistics are needed, and
for layers with forward hooks, which expect the published activations, the stored modules run one after the other; only
a maximum over points takes a shorter way in training too.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

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


def _published_order(x: Tensor) -> Tensor:
    return x.permute(0, *range(x.dim() - 1, 0, -1))


def pointwise(x: Tensor, conv: nn.Module, norm: nn.Module) -> Tensor:
    """norm(conv(x)) for channels-last x: (B, ..., in) -> (B, ..., out)."""
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
    if as_stored(conv, norm):  # a hook may keep what the norm returned
        return F.relu(pointwise(x, conv, norm))
    return F.relu(pointwise(x, conv, norm), inplace=True)


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

    The norm is increasing or decreasing in each channel, so the deciding point is known before it; and mean and variance
    of w.x + b over all points are w.m + b and w.Cw, with m and C the mean and covariance of the rows of x.
    """
    assert isinstance(conv, _Conv) and isinstance(norm, nn.BatchNorm1d)
    weight, rows = conv.weight.flatten(1), x.flatten(0, -2)
    centre = rows.mean(0)
    centred = rows - centre
    bias = 0 if conv.bias is None else conv.bias
    mean = weight @ centre + bias
    variance = ((weight @ (centred.T @ centred / len(rows))) * weight).sum(1)
    with torch.no_grad():
        signed = weight * torch.where(norm.weight < 0, -1.0, 1.0)[:, None]
        deciding = _argmax(torch.bmm(signed.expand(len(x), -1, -1), x.transpose(1, 2)))
    update_running(norm, mean, variance, len(rows))
    # The bias drops out, with a gradient of zero: distributed training wants one for every parameter.
    largest = (gather(x, deciding) * weight).sum(-1) + bias - mean
    return largest * torch.rsqrt(variance + norm.eps) * norm.weight + norm.bias


def _argmax(x: Tensor) -> Tensor:
    """Position of the largest value along the last axis; in two stages, which the CPU can do with vectors."""
    if x.shape[-1] % _BLOCK:
        return x.argmax(-1)
    blocks = x.unflatten(-1, (-1, _BLOCK))
    column = blocks.amax(-2).argmax(-1, keepdim=True)
    row = blocks.gather(-1, column[..., None, :].expand(*blocks.shape[:-1], 1))[..., 0].argmax(-1)
    return row * _BLOCK + column[..., 0]
